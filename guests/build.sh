#!/usr/bin/env bash
# Rebuilds the guests that ship in this repository, byte for byte:
#   guests/build.sh [DIRECTORY]     where to put them, examples by name; default: beside their sources
#   guests/build.sh --toolchain     prints the versions of compiler and linker
# Needs gcc and binutils for aarch64-linux-gnu and x86_64-linux-gnu. The bytes are those of the versions in toolchain.txt.
set -euo pipefail
guests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=${1:-}

export SOURCE_DATE_EPOCH=0 LC_ALL=C
cross=aarch64-linux-gnu-
flags=(
  -std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-builtin -fno-pic -fno-pie -mcmodel=small -march=armv8-a
  -mgeneral-regs-only -mstrict-align -mno-outline-atomics -mbranch-protection=none -fno-omit-frame-pointer
  -fno-stack-protector -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-ident -g0
)
amd64_cross=x86_64-linux-gnu-
amd64_flags=(
  -std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-builtin -fno-pic -fno-pie -m64 -march=x86-64 -mno-red-zone
  -mgeneral-regs-only -fcf-protection=none -fno-omit-frame-pointer -fno-stack-protector
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-ident -g0
)
link=(-nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments)

# Every source of the current directory, and those that both bare-metal guests have.
compile_all() {
  local cross=$1 work=$2 file name
  shift 2
  for file in *.S *.c ../shared/*.c ../bare-metal/*.c; do
    name=${file##*/}
    "${cross}gcc" "$@" -I. -c "$file" -o "$work/${name%.*}.o"
  done
}

build_arm64_bare_metal() {
  local source=$guests/arm64-bare-metal target=${output:-$guests/arm64-bare-metal} work
  work=$(mktemp -d)
  # From inside the directory, so that no path gets into the output.
  (
    cd "$source"
    compile_all "$cross" "$work" "${flags[@]}"
    "${cross}gcc" -E -P -x c -I. guest.ld -o "$work/linker-script"
    cd "$work"
    "${cross}gcc" "${link[@]}" -Wl,-T,linker-script ./*.o -o guest.elf
    "${cross}objcopy" --strip-debug --discard-all guest.elf
    "${cross}objcopy" -O binary guest.elf guest.img
  )
  mkdir -p "$target"
  cp "$work/guest.elf" "$work/guest.img" "$target/"
  rm -rf "$work"
}

build_amd64_bare_metal() {
  local source=$guests/amd64-bare-metal target=${output:+$output/amd64-bare-metal} work
  target=${target:-$guests/amd64-bare-metal}
  work=$(mktemp -d)
  (
    cd "$source"
    compile_all "$amd64_cross" "$work" "${amd64_flags[@]}"
    "${amd64_cross}gcc" "${link[@]}" -Wl,-T,guest.ld "$work"/*.o -o "$work/guest.elf"
    "${amd64_cross}objcopy" --strip-debug --discard-all "$work/guest.elf"
  )
  mkdir -p "$target"
  cp "$work/guest.elf" "$target/"
  rm -rf "$work"
}

# One ELF file, linked at its physical address: examples/NAME/guest.elf.
build_example() {
  local name=$1 source target work
  source=$guests/../examples/$name/guest target=${output:+$output/$name} work=$(mktemp -d)
  target=${target:-$guests/../examples/$name}
  (
    cd "$source"
    for file in *.S *.c; do "${cross}gcc" "${flags[@]}" -c "$file" -o "$work/${file%.*}.o"; done
    "${cross}gcc" "${link[@]}" -Wl,-T,guest.ld "$work"/*.o -o "$work/guest.elf"
    "${cross}objcopy" --strip-debug --discard-all "$work/guest.elf"
  )
  mkdir -p "$target"
  cp "$work/guest.elf" "$target/"
  rm -rf "$work"
}

# The same for amd64: entry, console and text are the bare-metal guest's.
build_amd64_example() {
  local name=$1 target work file
  target=${output:+$output/$name} work=$(mktemp -d)
  target=${target:-$guests/../examples/$name}
  (
    cd "$guests/amd64-bare-metal"
    for file in start.S uart.c ../shared/*.c ../../examples/"$name"/guest/*.c; do
      "${amd64_cross}gcc" "${amd64_flags[@]}" -I. -c "$file" -o "$work/$(basename "${file%.*}").o"
    done
    "${amd64_cross}gcc" "${link[@]}" -Wl,-T,guest.ld "$work"/*.o -o "$work/guest.elf"
    "${amd64_cross}objcopy" --strip-debug --discard-all "$work/guest.elf"
  )
  mkdir -p "$target"
  cp "$work/guest.elf" "$target/"
  rm -rf "$work"
}

print_toolchain() {
  local tool
  for tool in gcc ld; do "${cross}$tool" --version | sed -n 1p; done
  for tool in gcc ld; do "${amd64_cross}$tool" --version | sed -n 1p; done
}

if [[ $output == --toolchain ]]; then
  print_toolchain
  exit
fi
build_arm64_bare_metal
build_amd64_bare_metal
build_example forwarded-arm-calls
build_amd64_example extended-hypercalls
build_amd64_example hv-cpuid-scope
build_amd64_example notification-transports
build_amd64_example xmm-output
if [[ -z $output ]]; then print_toolchain >"$guests/toolchain.txt"; fi
