#!/bin/busybox sh
# What the guests run where no program is built for their machine: `load` of the helper in Rust, as far as
# busybox goes. Anonymous memory is that of awks with long strings, hugetlb pages are those of files.
#
#     vm_guest load MIB DISK_DIR TMPFS_DIR
export PATH=/bin
fail() { echo "vm_guest: $*" >&2; exit 1; }
[ "$1" = load ] && [ $# = 4 ] || fail "usage: vm_guest load MIB DISK_DIR TMPFS_DIR"
mib=$2 disk=$3 tmpfs=$4

# A string of at least so many KiB stays in an awk that sleeps.
sleeper() {
    awk -v kib="$2" -v ready="/tmp/ready.$1" 'BEGIN {
        text = "systemd[1]: Started session, link is up 0x2f01 "
        while (length(text) < kib * 1024) text = text text
        print length(text) > ready; close(ready)
        system("exec sleep 100000")
    }' &
    for try in $(seq 1 300); do [ -s "/tmp/ready.$1" ] && break; sleep 0.1; done
    [ -s "/tmp/ready.$1" ] || fail "$1 did not get ready"
    echo "VM: load $1 ready"
}

# Half of the huge pages are in files, the others stay in the pool. Not every machine has some.
huge_kib=$(awk '/^Hugepagesize/ { print $2 }' /proc/meminfo)
if [ -n "$huge_kib" ]; then
    huge_pages=$((mib * 1024 / 8 / huge_kib + 2))
    echo $huge_pages > /proc/sys/vm/nr_hugepages
    mkdir /hugetlb && mount -t hugetlbfs none /hugetlb || fail "mount of hugetlb pages"
    fallocate -l $((huge_pages / 2 * huge_kib * 1024)) /hugetlb/file || fail "hugetlb pages"
fi

if [ -e /sys/kernel/mm/transparent_hugepage/enabled ]; then
    echo always > /sys/kernel/mm/transparent_hugepage/enabled
    sleeper thp $((mib * 1024 / 10))
    echo never > /sys/kernel/mm/transparent_hugepage/enabled
fi
sleeper anonymous $((mib * 1024 / 10))

# Page cache: read, written, tmpfs.
cat "$disk"/* > /dev/null
dd if=/dev/urandom of="$tmpfs/kept" bs=1M count=$((mib / 12)) 2> /dev/null || fail "tmpfs"
cat "$disk"/* | head -c $((mib * 1024 * 1024 / 8)) > "$disk/written"
[ -d "$tmpfs/huge" ] && dd if=/dev/urandom of="$tmpfs/huge/kept" bs=1M count=$((mib / 20)) 2> /dev/null
echo "VM: load files ready"

# Slab: names and inodes.
for folder in $(seq 1 20); do
    mkdir "$tmpfs/folder-$folder"
    for file in $(seq 1 50); do
        : > "$tmpfs/folder-$folder/a-file-with-a-rather-long-name-so-that-it-is-allocated-$file"
    done
done

# Last, so that nothing takes them again: free pages that are not zero.
dd if=/dev/urandom of="$tmpfs/deleted" bs=1M count=$((mib / 6)) 2> /dev/null || fail "tmpfs"
rm "$tmpfs/deleted"
echo "VM: load deleted files ready"
