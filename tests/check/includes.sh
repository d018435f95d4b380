#!/usr/bin/env bash
# Who may include whom (architecture: "The house"). sdk includes nothing outside sdk; plugins, formats
# and models include sdk and their own folder; host includes sdk and host, and inside it
# cli -> pipeline -> {plan, train, report} -> {graph, compute, text, dist} -> {loader, recipe}.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

layer() {
  case $1 in
    recipe | loader) echo 1 ;;
    graph | compute | text | dist) echo 2 ;;
    plan | train | report) echo 3 ;;
    pipeline) echo 4 ;;
    cli) echo 5 ;;
    *) echo 0 ;;
  esac
}

# file:line:target of every include in quotes.
quoted() {
  our_files "$@" | grep -E '\.(h|hpp|c|cpp|cu|cuh)$' | xargs -r -d '\n' grep -HnE '^ *# *include *"' |
    sed -E 's/^([^:]*):([0-9]*): *# *include *"([^"]*)".*/\1:\2:\3/'
}

# The folder that a plugin's sources may use: its first two components.
own_folder() { echo "$1" | cut -d/ -f1-2; }

# The one exception: *-inl.hpp, for plugins that choose to encode with Highway.
wrong=$(quoted sdk/include | grep -v ':mopt/' | grep -vE -- '-inl\.hpp:[0-9]*:hwy/')
expect_none "sdk includes only sdk" "$wrong"

wrong=$(our_files sdk/include | grep '\.h$' | xargs grep -HnE '^ *# *include *<' |
  grep -vE '<(stddef|stdint)\.h>')
expect_none "C headers of the sdk need stddef.h and stdint.h only" "$wrong"

wrong=$(quoted plugins formats models | while IFS=: read -r file line target; do
  case $target in
    mopt/* | hwy/*) continue ;;
    tests/*) [[ $file == *_test.[ch]pp || $file == */test_support.* ]] && continue ;;
  esac
  folder=$(dirname "$file")
  own=$(own_folder "$file")
  found=$(realpath -m --relative-to=. "$folder/$target")
  { [ -f "$found" ] && [[ $found == "$own"/* ]]; } || [ -f "$own/$target" ] ||
    echo "$file:$line: includes \"$target\"; a plugin may include mopt/... and its own folder"
done)
expect_none "plugins, formats and models include sdk and themselves only" "$wrong"

wrong=$(quoted host | while IFS=: read -r file line target; do
  part=$(echo "$file" | cut -d/ -f2)
  case $target in
    mopt/* | hwy/*) continue ;;
    tests/*) [[ $file == *_test.[ch]pp ]] && continue ;;
    host/*/*)
      other=$(echo "$target" | cut -d/ -f2)
      [ "$other" = "$part" ] && continue
      mine=$(layer "$part")
      theirs=$(layer "$other")
      [ "$mine" -gt "$theirs" ] && [ "$theirs" -gt 0 ] && continue
      echo "$file:$line: $part may not include \"$target\": $other is not below it"
      continue
      ;;
  esac
  echo "$file:$line: includes \"$target\"; host includes mopt/... and host/... only"
done)
expect_none "host includes sdk and the layers below" "$wrong"

wrong=$(our_files host sdk plugins formats models | grep -E '\.(h|hpp|c|cpp|cu|cuh)$' |
  xargs -r -d '\n' grep -HnE '^ *# *include *[<"](\.\./|plugins/|formats/|models/)')
expect_none "no include climbs out of its folder or names a plugin" "$wrong"

# The host links no plugin: whatever it knows of them comes through the ABI.
wrong=$(our_files host | grep CMakeLists.txt | xargs -r grep -HnE '(plugins|formats|models)/')
expect_none "the host's build names no plugin folder" "$wrong"

done_checking
