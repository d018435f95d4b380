#!/usr/bin/env bash
# Makes what a machine needs that has no Boost, oneTBB, oneDNN or ICU: DIR/mopt.tar.xz, a tree with every
# shared library beside it, found through $ORIGIN; unpack.sh opens it there. Not in it: glibc, the
# driver's library, cuBLAS, cuDNN and NCCL, which come from that machine.
# package.sh DIR [TARGET...]: TARGETs are more programs for its bin/ (op_harness). Builds all that it packs:
# programs and the CUDA part have to come from one build.
# MOPT_BUILD: the build tree (build/release). Needs patchelf and xz. The last line is the archive's size;
# above 40 MiB it fails.
set -euo pipefail
dir=${1:?usage: package.sh DIR [TARGET...]}
shift
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
build=${MOPT_BUILD:-build/release}
for tool in patchelf xz strip ldd; do
  command -v $tool >/dev/null || { echo "package.sh: $tool is missing; install it" >&2; exit 2; }
done
limit=$((40 << 20))
cmake --build "$build" -j "$(nproc)" --target product bench_measure make_llama synthetic_format trap \
  hold_device_memory "$@" >&2
programs=("$build/bench/"{bench_measure,make_llama,hold_device_memory})
for target in "$@"; do
  for folder in bin bench; do
    if [ -x "$build/$folder/$target" ]; then programs+=("$build/$folder/$target") && continue 2; fi
  done
  echo "package.sh: $target is no program in $build/bin or bench" >&2
  exit 1
done

# What every machine with this driver has; a second copy would fight with it.
of_the_machine='^(ld-linux|libc|libm|libdl|libpthread|librt|libresolv|libutil|libcuda|libcudart|libcublas|libcublasLt|libcudnn.*|libnvrtc.*|libnvJitLink|libnvidia-.*|libnccl)(-x86-64)?\.so'

mkdir -p "$dir"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,lib/mopt/shared,lib/mopt/test}
cp "$build/bin/mopt-host" "${programs[@]}" "$tree/bin/"
cp -r "$build/lib/mopt/." "$tree/lib/mopt/"
cp -r "$build/share" "$tree/share"
cp "$build/test/plugins/"{synthetic/synthetic,trap/trap}.so "$tree/lib/mopt/test/"

elves() { find "$tree" -type f \( -name '*.so*' -o -path '*/bin/*' \); }
# All that the loader found for it, also indirectly: ldd follows the whole chain.
elves | while read -r file; do
  ldd "$file" | sed -n 's/^[[:space:]]*\([^ ]*\) => \(\/[^ ]*\) .*/\1 \2/p'
done | sort -u | while read -r name path; do
  if ! [[ $name =~ $of_the_machine ]]; then cp -n "$path" "$tree/lib/mopt/shared/$name"; fi
done

elves | while read -r file; do
  strip --strip-unneeded "$file"
  # RPATH, not RUNPATH: it also holds for what a library of the tree needs, and before LD_LIBRARY_PATH.
  # The CUDA part also looks where a toolkit stands; elsewhere unpack.sh says where.
  search="\$ORIGIN/$(realpath --relative-to="$(dirname "$file")" "$tree/lib/mopt/shared")"
  if [[ $file == "$tree"/lib/mopt/*cud*.so ]]; then search+=:/usr/local/cuda/lib64; fi
  patchelf --force-rpath --set-rpath "$search" "$file"
done

# With nothing around it, everything comes from the tree or from the machine.
strange=$(elves | while read -r file; do
  env -i ldd "$file" | sed -n 's/^[[:space:]]*\([^ ]*\) => \(.*\)/\1 \2/p'
done | while read -r name path; do
  if [[ $name =~ $of_the_machine || $path == "$tree"/* ]]; then continue; fi
  echo "$name => $path"
done | sort -u)
if [ -n "$strange" ]; then
  printf 'package.sh: found outside of the tree:\n%s\n' "$strange" >&2
  exit 1
fi
refused=$(env -i "$tree/bin/mopt-host" plugins --plugin "$tree/lib/mopt/test/synthetic.so" \
  --plugin "$tree/lib/mopt/test/trap.so" | grep 'refused\[' || :)
if [ -n "$refused" ]; then
  printf 'package.sh: plugins that do not load in the tree:\n%s\n' "$refused" >&2
  exit 1
fi

tar -C "$tree" --sort=name --owner=0 --group=0 --mtime=@0 -c . | xz -T0 -6 >"$dir/mopt.tar.xz"
size=$(stat -c %s "$dir/mopt.tar.xz")
awk -v s="$size" -v n="$(elves | wc -l)" -v all="$(du -sb "$tree" | cut -f1)" \
  'BEGIN {printf "mopt.tar.xz: %.1f MiB, %d binaries, %.1f MiB unpacked\n", s / 1048576, n, all / 1048576}'
[ "$size" -le $limit ] || { echo "package.sh: above 40 MiB" >&2; exit 1; }
