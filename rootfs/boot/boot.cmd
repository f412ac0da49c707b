# Menshen: chooses the slot that boots, counts the attempt, and boots it.
# Made into boot.scr by: mkimage -A arm64 -T script -C none -d boot.cmd boot.scr
#
# What is chosen is in two copies on the boot partition, /choice0/boot.env and /choice1/boot.env: 512 bytes
# each, a CRC-32 and variables behind it, as "env export -c" writes them and mkenvimage makes them.
#   BOOT_SERIAL   counts the writes, hexadecimal; the valid copy with the higher one counts
#   BOOT_ORDER    slots, the preferred one first: "A B"
#   BOOT_A_LEFT   attempts left; a boot takes one, a system that reports itself healthy puts 3 back
#   BOOT_B_LEFT
#   BOOT_TRIAL    the slot of an update that has not been healthy yet; absent is none. Only kept here.
# A write goes to the copy that does not count, in place: it touches the cluster of that copy and that of its
# folder, nothing else. So a power cut in the middle leaves the other copy, and what it says.
#
# board.env beside boot.scr, NAME=VALUE lines, may set: board_args (console=...), fdtfile (a file of /boot/dtbs).
# ${devtype} ${devnum} are the disk that this script came from; partitions are those of rootfs/partitions.

if test -z "${distro_bootpart}"; then setenv distro_bootpart 1; fi
if test -e ${devtype} ${devnum}:${distro_bootpart} /board.env; then
	if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /board.env; then
		env import -t ${kernel_addr_r} ${filesize} board_args fdtfile
	fi
fi

setenv choice none
setenv choice_serial 0
for copy in 0 1; do
	setenv BOOT_SERIAL
	mw.b ${kernel_addr_r} 0 200
	if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /choice${copy}/boot.env 200; then
		if env import -c ${kernel_addr_r} 200 BOOT_SERIAL; then
			if test -n "${BOOT_SERIAL}"; then
				if itest ${BOOT_SERIAL} -gt ${choice_serial}; then
					setenv choice ${copy}
					setenv choice_serial ${BOOT_SERIAL}
				fi
			fi
		else
			echo "menshen: copy ${copy} of the boot choice does not count"
		fi
	fi
done

setenv BOOT_ORDER
setenv BOOT_A_LEFT
setenv BOOT_B_LEFT
setenv BOOT_TRIAL
if test ${choice} != none; then
	load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /choice${choice}/boot.env 200
	env import -c ${kernel_addr_r} 200 BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT BOOT_TRIAL
fi
# Without a word about it, both slots are worth a try.
if test -z "${BOOT_ORDER}"; then setenv BOOT_ORDER "A B"; fi
if test -z "${BOOT_A_LEFT}"; then setenv BOOT_A_LEFT 3; fi
if test -z "${BOOT_B_LEFT}"; then setenv BOOT_B_LEFT 3; fi

setenv slot
for round in first second; do
	for candidate in ${BOOT_ORDER}; do
		if test -z "${slot}"; then
			if test ${candidate} = A; then
				if itest ${BOOT_A_LEFT} -gt 0; then setenv slot A; fi
			fi
			if test ${candidate} = B; then
				if itest ${BOOT_B_LEFT} -gt 0; then setenv slot B; fi
			fi
		fi
	done
	# All attempts are used up, perhaps by power cuts alone: a gate never stops trying.
	if test -z "${slot}"; then
		echo "menshen: no attempts left in ${BOOT_ORDER}; beginning anew"
		setenv BOOT_A_LEFT 3
		setenv BOOT_B_LEFT 3
	fi
done
if test -z "${slot}"; then setenv slot A; fi

if test ${slot} = A; then
	setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
	setenv part 2
else
	setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
	setenv part 3
fi

setexpr BOOT_SERIAL ${choice_serial} + 1
if test ${choice} = 0; then setenv copy 1; else setenv copy 0; fi
env export -c -s 200 ${kernel_addr_r} BOOT_SERIAL BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT BOOT_TRIAL
if fatwrite ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /choice${copy}/boot.env 200; then
	echo "menshen: slot ${slot}, order ${BOOT_ORDER}, left A=${BOOT_A_LEFT} B=${BOOT_B_LEFT}, serial ${BOOT_SERIAL} in copy ${copy}"
else
	# A gate that cannot count still boots.
	echo "menshen: slot ${slot}; the attempt could not be counted"
fi

# panic: a kernel that cannot go on restarts, and that is one attempt.
setenv bootargs "root=PARTLABEL=root menshen.slot=${slot} rauc.slot=${slot} ro quiet loglevel=3 panic=5 systemd.gpt_auto=no ${board_args}"
setenv fdt ${fdtcontroladdr}
if test -n "${fdt_addr}"; then setenv fdt ${fdt_addr}; fi
if test -n "${fdtfile}"; then
	if load ${devtype} ${devnum}:${part} ${fdt_addr_r} /boot/dtbs/${fdtfile}; then setenv fdt ${fdt_addr_r}; fi
fi
if load ${devtype} ${devnum}:${part} ${kernel_addr_r} /boot/Image; then
	if load ${devtype} ${devnum}:${part} ${ramdisk_addr_r} /boot/initrd; then
		booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt}
	fi
fi
echo "menshen: slot ${slot} does not boot"
reset
