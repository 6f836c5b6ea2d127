#!/bin/sh
# Runs once the root file system is mounted. In a kernel that has not crashed there is no
# /proc/vmcore, and nothing happens.

# What the root's fstab mounts at a folder: device, type and options.
tamis_mounts() {
    while read -r device at type options _; do
        case $device in
        '#'*) ;;
        *) [ "$at" != "$1" ] || echo "$device $type $options" ;;
        esac
    done < "$root/etc/fstab"
}

tamis_save() {
    path=$(getarg tamis.path=) || path=/var/crash
    mount -o remount,rw "$root" || echo "tamis: $root stays read-only" >&2
    # Folders on the way may be file systems of their own, which would hide a dump on the root's.
    target=$root
    inside=
    rest=${path#/}
    while [ -n "$rest" ] && [ -r "$root/etc/fstab" ]; do
        inside=$inside/${rest%%/*}
        case $rest in
        */*) rest=${rest#*/} ;;
        *) rest= ;;
        esac
        # Words: device, type and options.
        # shellcheck disable=SC2046
        set -- $(tamis_mounts "$inside")
        [ $# -ge 3 ] || continue
        if mount -t "$2" -o "$3" "$1" "$root$inside" && mount -o remount,rw "$root$inside"; then
            target=$root$inside
            path=/$rest
        else
            echo "tamis: $1 cannot be mounted on $inside: saving at the top of $target" >&2
            path=/
            rest=
        fi
    done
    # The other orders are those of the command line and of /etc/tamis.conf.
    tamis-capture --init "mounted=$target" "path=$path" final=return
    sync
    [ "$target" = "$root" ] || umount "$target"
    mount -o remount,ro "$root"
}

if [ -s /proc/vmcore ]; then
    root=${NEWROOT:-/sysroot}
    tamis_save
    case $(getarg tamis.final=) in
    poweroff) poweroff -f ;;
    halt) halt -f ;;
    esac
    reboot -f || echo b > /proc/sysrq-trigger
fi
