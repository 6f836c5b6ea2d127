#!/bin/bash
# dracut module: tamis-capture saves the dump of a crash onto the file system of /var/crash.

check() {
    require_binaries tamis-capture || return 1
    # Only when asked for: --add tamis.
    return 255
}

depends() {
    return 0
}

install() {
    inst_multiple tamis-capture mount umount sync
    inst_multiple -o /etc/tamis.conf poweroff halt reboot
    inst_hook pre-pivot 10 "$moddir/tamis-save.sh"
}
