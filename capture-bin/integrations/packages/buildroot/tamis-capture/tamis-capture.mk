################################################################################
#
# tamis-capture
#
################################################################################

TAMIS_CAPTURE_VERSION = 0.1.0
# The folder of the source; or a SITE and its .hash, where it is downloaded.
TAMIS_CAPTURE_SITE = $(call qstrip,$(TAMIS_CAPTURE_OVERRIDE_SRCDIR))
TAMIS_CAPTURE_SITE_METHOD = local
TAMIS_CAPTURE_LICENSE = MIT or Apache-2.0
TAMIS_CAPTURE_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
TAMIS_CAPTURE_DEPENDENCIES = host-rustc

# It is linked with the musl that Rust has, whatever C library the target has: it needs none there.
TAMIS_CAPTURE_TARGET = $(BR2_ARCH)-unknown-linux-musl

define TAMIS_CAPTURE_BUILD_CMDS
	cd $(@D) && $(PKG_CARGO_ENV) cargo build --release --locked \
		--package tamis-capture --target $(TAMIS_CAPTURE_TARGET)
endef

define TAMIS_CAPTURE_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(TAMIS_CAPTURE_TARGET)/release/tamis-capture \
		$(TARGET_DIR)/usr/sbin/tamis-capture
endef

$(eval $(generic-package))
