#!/bin/bash
# The way from a bare Debian 12 to the running service, on an emulated arm64 computer with systemd:
#
#   tools/arm64/newcomer.sh [FOLDER]
#
# Needs root, and of the host: debootstrap, qemu-system-arm, qemu-user-static with binfmt_misc for
# arm64, kmod, e2fsprogs, and a Python with ccnvr. FOLDER (.arm64/newcomer) keeps what was built. The
# simulated instrument runs on the host, behind a USB adapter that the guest drives as /dev/ttyUSB0.
# What the guest says is in FOLDER/console.log; it took an hour on two busy cores.
set -euo pipefail
HERE=$(dirname "$(realpath "$0")") REPOSITORY=$(realpath "$(dirname "$0")/../..")
FOLDER=$(realpath -m "${1:-.arm64/newcomer}") PORT=${PORT:-7755} MIRROR=http://deb.debian.org/debian
PYTHON=${PYTHON:-python3}
mkdir -p "$FOLDER"
cd "$FOLDER"

bare_debian() {
    debootstrap --arch=arm64 --variant=minbase --include=systemd,systemd-sysv,dbus,udev,kmod \
        bookworm root "$MIRROR"
    # Only fetched: packaging/install.sh installs them, and the guest has no network.
    cp /etc/resolv.conf root/etc/
    chroot root apt-get -qq update
    chroot root apt-get -qq --yes --download-only install python3 python3-venv
    # Debian's own kernel, unpacked and not installed, so that no boot loader is needed.
    kernel=$(chroot root apt-cache depends linux-image-arm64 | awk '/Depends: linux-image/{print $2}')
    mkdir -p kernel
    (cd root/tmp && chroot .. sh -c "cd /tmp && apt-get -qq download $kernel busybox-static")
    for package in root/tmp/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C kernel; done
    rm -f root/tmp/*.deb root/etc/resolv.conf
    depmod -b kernel "$(ls kernel/lib/modules)"
    cp -a kernel/lib/modules root/lib/
    echo bare > root/etc/hostname
    : > root/etc/fstab
}

wheels() {
    pip download --quiet --dest root/wheels --only-binary=:all: --python-version 3.11 \
        --implementation cp --abi cp311 --abi abi3 --abi none \
        --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux_2_28_aarch64 -c "$REPOSITORY/constraints.txt" \
        numpy pyserial onnxruntime setuptools
}

initramfs() {
    version=$(ls kernel/lib/modules)
    rm -rf initramfs
    mkdir -p initramfs/{bin,lib,proc,sys,dev,new}
    cp kernel/bin/busybox initramfs/bin/
    for module in virtio_pci virtio_blk ext4 crc32c_generic; do
        modprobe -d kernel -S "$version" --show-depends "$module"
    done | awk '/^insmod/ && !seen[$2]++ {print $2}' > modules
    while read -r file; do
        cp "$file" initramfs/lib/
        basename "$file"
    done < modules > initramfs/modules
    cat > initramfs/init <<'X'
#!/bin/busybox sh
/bin/busybox mount -t proc p /proc
/bin/busybox mount -t sysfs s /sys
/bin/busybox mount -t devtmpfs d /dev
while read -r module; do /bin/busybox insmod "/lib/$module"; done < /modules
until [ -e /dev/vda ]; do /bin/busybox sleep 1; done
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox umount /proc /sys
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /sbin/init
X
    chmod 755 initramfs/init
    (cd initramfs && find . | cpio -o -H newc --quiet | gzip -1) > initramfs.gz
}

disk() {
    rm -rf root/root/ccnvr
    mkdir -p root/root/ccnvr root/etc/systemd/system/multi-user.target.wants
    git -C "$REPOSITORY" archive HEAD | tar -x -C root/root/ccnvr
    install -m 755 "$HERE/newcomer_guest.sh" root/root/newcomer.sh
    printf '[Unit]\nAfter=multi-user.target\n[Service]\nExecStart=/root/newcomer.sh\n' \
        > root/etc/systemd/system/newcomer.service
    ln -sf ../newcomer.service root/etc/systemd/system/multi-user.target.wants/
    rm -f disk.img
    mke2fs -q -F -t ext4 -d root disk.img 3G
}

boot() {
    "$PYTHON" -m ccnvr.edge.cli simulate --listen "127.0.0.1:$PORT" > simulator.log 2>&1 &
    simulator=$!
    trap 'kill $simulator' EXIT
    sleep 5
    timeout 7200 qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 2 -m 2G -display none -nodefaults \
        -kernel kernel/boot/vmlinuz* -initrd initramfs.gz -serial file:console.log \
        -append "console=ttyAMA0 loglevel=4 systemd.show_status=0" \
        -drive file=disk.img,format=raw,if=none,id=disk -device virtio-blk-pci,drive=disk \
        -device qemu-xhci -device usb-serial,chardev=usb \
        -chardev "socket,id=usb,host=127.0.0.1,port=$PORT,server=off,reconnect=2"
}

[ -d kernel ] || bare_debian
[ -d root/wheels ] || wheels
[ -e initramfs.gz ] || initramfs
disk
boot
grep "^@@" console.log
grep -q "^@@ END" console.log
