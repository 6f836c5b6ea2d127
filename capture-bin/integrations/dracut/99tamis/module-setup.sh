#!/bin/bash
# dracut module: tamis-capture saves the dump of a crash onto the root file system.

check() {
    require_binaries tamis-capture || return 1
    # Only when asked for: --add tamis.
    return 255
}

depends() {
    return 0
}

install() {
    inst_multiple tamis-capture mkdir mount mv date sync
    inst_hook pre-pivot 10 "$moddir/tamis-save.sh"
}
