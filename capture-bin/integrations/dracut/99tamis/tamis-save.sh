#!/bin/sh
# Runs once the root file system is mounted. In a kernel that has not crashed there is no
# /proc/vmcore, and nothing happens.

if [ -s /proc/vmcore ]; then
    root=${NEWROOT:-/sysroot}
    options=$(getarg tamis.args=) || options="-c -d 31"
    folder=$root$(getarg tamis.path= || echo /var/crash)/$(date -u +%Y-%m-%d-%H-%M-%S)
    if mount -o remount,rw "$root" && mkdir -p "$folder"; then
        tamis-capture --dump-dmesg /proc/vmcore "$folder/vmcore-dmesg.txt"
        # Options are words.
        # shellcheck disable=SC2086
        tamis-capture $options /proc/vmcore "$folder/vmcore.incomplete" \
            && mv "$folder/vmcore.incomplete" "$folder/vmcore" \
            && echo "tamis: saved $folder/vmcore"
    else
        echo "tamis: $root cannot be written to" >&2
    fi
    sync
    mount -o remount,ro "$root"
    reboot -f || echo b > /proc/sysrq-trigger
fi
