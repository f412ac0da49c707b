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
# A write goes to the copy that does not count, in place: it changes the sector of that copy and the folder of
# that copy, nothing else. So a power cut in the middle leaves the other copy, and what it says.
#
# board.env beside boot.scr may set: board_args (console=...), part_a, part_b (numbers of the partitions),
# kernel_file, initrd_file, fdt_file.

if test -z "${distro_bootpart}"; then setenv distro_bootpart 1; fi
setenv part_a 2
setenv part_b 3
setenv kernel_file /boot/vmlinuz
setenv initrd_file /boot/initrd.img
setenv fdt_file
setenv board_args
if test -e ${devtype} ${devnum}:${distro_bootpart} /board.env; then
	if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /board.env; then
		env import -t ${kernel_addr_r} ${filesize} board_args part_a part_b kernel_file initrd_file fdt_file
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
	setenv slot_part ${part_a}
	setenv slot_label slot-a
else
	setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
	setenv slot_part ${part_b}
	setenv slot_label slot-b
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

setenv bootargs "${board_args} root=PARTLABEL=${slot_label} ro rootwait panic=10 rauc.slot=${slot}"
setenv slot_fdt ${fdtcontroladdr}
if test -n "${fdt_addr}"; then setenv slot_fdt ${fdt_addr}; fi
if test -n "${fdt_file}"; then
	if load ${devtype} ${devnum}:${slot_part} ${fdt_addr_r} ${fdt_file}; then setenv slot_fdt ${fdt_addr_r}; fi
fi
if load ${devtype} ${devnum}:${slot_part} ${kernel_addr_r} ${kernel_file}; then
	if load ${devtype} ${devnum}:${slot_part} ${ramdisk_addr_r} ${initrd_file}; then
		booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${slot_fdt}
	else
		booti ${kernel_addr_r} - ${slot_fdt}
	fi
fi
echo "menshen: slot ${slot} does not boot"
reset
