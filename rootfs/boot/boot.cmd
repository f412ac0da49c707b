# What U-Boot runs: chooses the slot, counts the try, loads kernel and initial RAM disk from it and starts them.
# ${devtype} ${devnum} are the disk that this script came from; partitions are those of rootfs/partitions.
#
# The variables are in the file uboot.env on this partition, with a checksum; Linux changes them with fw_setenv.
#   BOOT_ORDER    slots in the order in which they are tried
#   BOOT_A_LEFT   tries that slot A has left; a system that is healthy sets it back to 3
#   BOOT_B_LEFT   the same for B

setenv BOOT_ORDER "A B"
setenv BOOT_A_LEFT 3
setenv BOOT_B_LEFT 3
if load ${devtype} ${devnum}:1 ${scriptaddr} uboot.env; then
    env import -c ${scriptaddr} ${filesize} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
fi

setenv slot
for s in ${BOOT_ORDER}; do
    if test -z "${slot}"; then
        if test "${s}" = "A"; then
            if test ${BOOT_A_LEFT} -gt 0; then
                setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
                setenv slot A
                setenv part 2
            fi
        fi
        if test "${s}" = "B"; then
            if test ${BOOT_B_LEFT} -gt 0; then
                setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
                setenv slot B
                setenv part 3
            fi
        fi
    fi
done
if test -z "${slot}"; then
    # Neither has reported itself healthy: a gate that tries is better than one that does not.
    echo "menshen: no slot has tries left, all begin anew"
    setenv BOOT_A_LEFT 2
    setenv BOOT_B_LEFT 3
    setenv slot A
    setenv part 2
fi

env export -c -s 0x4000 ${scriptaddr} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
fatwrite ${devtype} ${devnum}:1 ${scriptaddr} uboot.env 0x4000

echo "menshen: slot ${slot}"
setenv bootargs "root=PARTLABEL=root menshen.slot=${slot} rauc.slot=${slot} ro quiet loglevel=3 panic=5 systemd.gpt_auto=no ${menshen_args}"
load ${devtype} ${devnum}:${part} ${kernel_addr_r} /boot/Image
setenv fdt ${fdtcontroladdr}
if test -n "${fdtfile}"; then
    if load ${devtype} ${devnum}:${part} ${fdt_addr_r} /boot/dtbs/${fdtfile}; then
        setenv fdt ${fdt_addr_r}
    fi
fi
load ${devtype} ${devnum}:${part} ${ramdisk_addr_r} /boot/initrd
booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt}
