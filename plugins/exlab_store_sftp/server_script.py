r"""The program that runs on the server, in its shell: one loop that does what each line tells it to.

It needs a POSIX ``sh`` and GNU coreutils, and ``flock`` of util-linux for locks; `hello` says what is missing. A
request is one line, a call of one of the functions below, and the answer is one line. Data follow the line of `write`,
and behind them a line with a mark, so that a connection that ends in the middle is told from one that sent all.

What holds a lock is descriptor 9 of this very process, and the programs that it starts inherit it. So a rename under
the lock happens while the lock is held, or not at all: whoever waits gets the lock when this process *and* its `mv`
have ended. When the connection ends, `read` finds the end of the input, and the process goes with its lock.

Nothing but builtins and what each step cannot do without is called, as a program costs a millisecond. `set -f` keeps
what programs say from being taken for patterns.
"""

from __future__ import annotations

import shlex
from typing import Final

__all__ = ["SCRIPT", "call", "start_command"]

SCRIPT: Final = r"""
LC_ALL=C; export LC_ALL; set -f; exec 2>/dev/null; held= recorded= ok= keeps=

say() { printf "%s\n" "$*"; }

hello() { # 1 mark 2 root
  m=$1 r=$2 missing=
  for p in dd mv cp rm unlink rmdir mkdir stat sync sha256sum date id chmod grep ls flock; do
    command -v $p >/dev/null || missing="$missing $p"
  done
  [ "$(printf abc | dd bs=65536 count=2 iflag=fullblock,count_bytes status=none)" = ab ] || missing="$missing GNU-dd"
  flock -x -w 0.1 9 9</dev/null || missing="$missing flock-with-a-timeout"
  ! grep -qs -e libacl -e posix_acl -- "$(command -v cp)" || keeps=1 # access control lists, too
  while [ "$r" ] && [ ! -e "$r" ]; do r=${r%/*}; done
  r=${r:-/}
  say "$m" $$ $(id -u) $(stat -L -c %u:%g:%a:%s:%Y -- "$r") "$(stat -L -f -c %T -- "$r")" : $missing
}

drain() { # reads what follows, to its mark $k
  while IFS= read -r l; do [ "$l" != "$k" ] || return 0; done
  exit 1
}

settle() { # synchronises folders; what this account may pass and not read, others have made
  f=$1
  m=$(sync -- "$@" 2>&1) && return 0
  [ -r "$f" ] || return 1
  ! printf "%s\n" "$m" | grep -qv "Permission denied"
}

stands() { [ -z "$1" ] || { [ "$held" = "$1" ] && [ "$1" -ef /dev/fd/9 ]; }; }

meets() { # 1 file 2 expectation: empty for any, - for none, or a SHA-256; found says what there is
  found=-
  [ -n "$2" ] || return 0
  [ ! -e "$1" ] || { set -- "$1" "$2" $(sha256sum < "$1"); found=${3:-unreadable}; }
  [ "$found" = "$2" ]
}

has_list() { # 1 file: an access control list, as the + of `ls` says; also where that cannot be told
  case $(ls -ldLn -- "$1") in ??????????[\ .]*) return 1;; esac
  return 0
}

common() { # 1 2 3 rights: b gets those that all of them have
  b=
  for p in r w x; do case $1:$2:$3 in *$p*:*$p*:*$p*) b=$b$p;; esac; done
  b=${b:--}
}

give_list() { # 1 old 2 new 3 not empty if the new one has the group of the old one
  a=$(getfacl -cpEn -- "$1") || return 1
  g= o= w=rwx s=
  for i in $a; do case $i in group::*) g=${i#*::};; mask::*) w=${i#*::};; other::*) o=${i#*::};; esac; done
  [ "$g" ] && [ "$o" ] || return 1
  [ "$3" ] || { common $g $w $o; g=$b o=$b; }
  for i in $a; do case $i in group::*) i=group::$g;; other::*) i=other::$o;; esac; s=$s,$i; done
  setfacl -n --set "${s#,}" -- "$2"
}

private() { (umask 077; set -C; : > "$1") && chmod 600 -- "$1"; } # a folder's default list overrides the umask

like() { # 1 old 2 new, which is made: m says why not
  # Nobody gets more than before, at any moment. The group bits of a file with a list are the most that anybody named
  # gets. Where the group cannot be kept, the members of both have changed sides, and get what both had.
  if [ -G "$1" ] && [ "$keeps" ]; then
    m=$(cp --attributes-only --preserve=all -- "$1" "$2" 2>&1) && return 0
    rm -f -- "$2"
  fi
  m=$(umask 077; cp --attributes-only --preserve=all --no-preserve=mode -- "$1" "$2" 2>&1) ||
    m=$(rm -f -- "$2"; private "$2" 2>&1) || return 1
  set -- "$1" "$2" $(stat -L -c "%g 0%a" -- "$1" "$2")
  [ "$6" ] || { m="the document has gone"; return 1; }
  same=; [ "$3" != "$5" ] || same=1
  [ ! "$same" ] || [ ! "$keeps" ] || ! m=$(cp --attributes-only --preserve=all -- "$1" "$2" 2>&1) || return 0
  mode=$(($4 & 0777)) both=$((($4 >> 3) & $4 & 7))
  if has_list "$1"; then
    ! give_list "$1" "$2" "$same" || return 0
    mode=$((mode & 0700))
  elif [ ! "$same" ]; then mode=$((mode & 0700 | both << 3 | both)); fi
  ! has_list "$2" || mode=$((mode & 0707)) # from the folder's default list
  m=$(chmod "$(printf %o $mode)" -- "$2" 2>&1)
}

hidden() { # 1 link: what it leads to may not be seen, and nobody knows how private that is
  [ -h "$1" ] && [ ! -e "$1" ] || return 1
  case $(stat -L -- "$1" 2>&1) in *"No such file"*) return 1;; esac
  return 0
}

write() { # 1 folder 2 temporary 3 name 4 size 5 mark 6 lock 7 expectation 8.. folders above
  d=$1 x=$1/$2 n=$1/$3 z=$4 k=$5 lock=$6 e=$7 c=excl ok=; shift 7
  [ -d "$d" ] || { drain; say folder; return; }
  [ -r "$d" ] || { drain; say failed write Permission denied; return; }
  if [ -d "$n" ] && [ ! -h "$n" ]; then drain; say failed write Is a directory; return; fi
  if [ -f "$n" ]; then
    c=nocreat,notrunc
    like "$n" "$x" || { rm -f -- "$x"; drain; say failed write $m; return; }
  elif hidden "$n"; then drain; say hidden; return; fi
  m=$(dd of="$x" bs=65536 count="$z" iflag=fullblock,count_bytes oflag=nofollow conv=fsync,$c status=none 2>&1) ||
    { rm -f -- "$x"; drain; say failed write $m; return; }
  l= ; IFS= read -r l && IFS= read -r l
  [ "$l" = "$k" ] || { rm -f -- "$x"; exit 1; }
  meets "$n" "$e" || { rm -f -- "$x"; say differs $found; return; }
  stands "$lock" || { rm -f -- "$x"; say lost; return; }
  m=$(mv -fT -- "$x" "$n" 2>&1) || { rm -f -- "$x"; say failed write $m; return; }
  settle "$d" "$@" || { say unsettled $m; return; }
  ok=1; say done
}

keep() { # 1 document 2 folder 3 temporary 4 name of the copy 5 SHA-256 6.. folders above
  n=$1 d=$2 x=$2/$3 y=$2/$4 e=$5; shift 5
  if [ -h "$n" ]; then say link; return; fi
  [ -f "$n" ] || { say differs; return; }
  command exec 8<"$n" || { if [ -e "$n" ]; then say failed copy Permission denied; else say differs; fi; return; }
  keep_open "$@"
  exec 8<&-
}

keep_open() { # folders: bytes and rights are those of one open file, whatever gets its name meanwhile
  [ ! -h "$n" ] && [ "$n" -ef /dev/fd/8 ] || { say differs; return; }
  like /dev/fd/8 "$x" || { rm -f -- "$x"; say failed copy $m; return; }
  m=$(dd of="$x" bs=65536 oflag=nofollow conv=fsync,nocreat,notrunc status=none <&8 2>&1) ||
    { rm -f -- "$x"; say failed copy $m; return; }
  meets "$x" "$e" || { rm -f -- "$x"; say differs; return; }
  m=$(mv -fT -- "$x" "$y" 2>&1) || { rm -f -- "$x"; say failed copy $m; return; }
  settle "$d" "$@" || { say unsettled $m; return; }
  say done
}

delete() { # 1 folder 2 name 3 lock 4 expectation 5.. folders above
  d=$1 n=$1/$2 lock=$3 e=$4; shift 4
  [ -e "$n" ] || [ -h "$n" ] || { say missing; return; }
  if [ -d "$n" ] && [ ! -h "$n" ]; then say failed delete Is a directory; return; fi
  [ -r "$d" ] || { say failed delete Permission denied; return; }
  meets "$n" "$e" || { say differs $found; return; }
  stands "$lock" || { say lost; return; }
  m=$(unlink -- "$n" 2>&1) || { [ -e "$n" ] || [ -h "$n" ] || { say missing; return; }; say failed delete $m; return; }
  settle "$d" "$@" || { say unsettled $m; return; }
  say done
}

there() { if [ -d "$1" ]; then say done; else say missing; fi; }

make() { # folders, from the top
  for f do
    [ -d "$f" ] || m=$(mkdir -- "$f" 2>&1) || [ -d "$f" ] || { say failed make $m; return; }
  done
  say done
}

let_in() { # 1 new lock file: for those who may put documents beside it
  f=${1%/*}; f=${f:-/}
  chown --reference="$f" -- "$1" || chgrp --reference="$f" -- "$1"
  set -- "$1" "$f" $(stat -L -c "%u %g 0%a" -- "$f" "$1")
  [ "$7" ] || return 0 # deleted meanwhile
  g=$(($5 >> 3)); [ "$4" = "$7" ] || g=$5
  chmod "$(printf %o $(((g & 6) << 3 | $5 & 6 | 0600)))" -- "$1"
  [ "$3" = "$6" ] && [ "$4" = "$7" ] && ! has_list "$2" || let_in_others "$@"
}

let_in_others() { # 1 lock file 2 folder 3 its user 4 its group 5 its mode 6 the user of the lock file 7 its group
  a=$(getfacl -cpEn -- "$2") || return 0
  w=rwx s=
  for i in $a; do case $i in mask::*) w=${i#*::};; other::*) common "${i#*::}" rw rw; o=$b g=$b;; esac; done
  for i in $a; do
    case $i in
    default:*|mask:*|other:*) continue;;
    user::*) common "${i#*::}" rw rw; i=user:$3;;
    group::*) common "${i#*::}" "$w" rw; i=group:$4;;
    *) common "${i##*:}" "$w" rw; i=${i%:*};;
    esac
    case $i in "user:$6"|user:0) ;; "group:$7") g=$b;; *) s=$s,$i:$b;; esac
  done
  setfacl -n --set "user::rw,group::$g,other::$o,mask::rw$s" -- "$1"
}

is_database() { # 1 lock file: filelock.ReadWriteLock keeps an SQLite database under the same name
  [ -s "$1" ] || return 1
  l= ; IFS= read -r l < "$1"
  case $l in "SQLite format 3"*) return 0;; esac
  return 1
}

holder() { # 1 lock file
  l= ; { IFS= read -r l && IFS= read -r l; } < "$1"
  say busy "$l"
}

lock() { # 1 lock file 2 seconds to wait 3 record
  while :; do
    new=
    if [ -h "$1" ] || { [ -e "$1" ] && [ ! -f "$1" ]; }; then say failed lock not a lock file; return; fi
    if [ ! -e "$1" ]; then
      [ -d "${1%/*}/" ] || { say folder; return; }
      m=$( (set -C; : > "$1") 2>&1) && { new=1; let_in "$1"; }
      [ -e "$1" ] || { [ -d "${1%/*}/" ] && [ ! "$new" ] || continue; say failed lock $m; return; }
    fi
    command exec 9<>"$1" || {
      [ -d "${1%/*}/" ] || continue # deleted meanwhile
      a=; m=$( { : 9<>"$1"; } 2>&1) || case $m in *"Permission denied") a=$(stat -c %a:%u:%g:%U:%G -- "$1");; esac
      if [ "$a" ]; then say closed "$a"; else say failed lock ${m:-Permission denied}; fi
      return
    }
    case $2 in 0) m=$(flock -x -n 9 2>&1);; *) m=$(flock -x -w "$2" 9 2>&1);; esac
    case $? in
      0) [ ! "$1" -ef /dev/fd/9 ] || break;;
      1) exec 9>&-; holder "$1"; return;;
      *) exec 9>&-; say failed lock $m; return;;
    esac
    exec 9>&-
  done
  held=$1 recorded=
  # Nothing is written into an empty file that another program has made: that is an SQLite database, too.
  if [ "$new" ] || { [ -s "$1" ] && ! is_database "$1"; }; then printf "\n%s\n" "$3" 1<>"$1" && recorded=1; fi
  say done
}

free() {
  if [ "$held" ]; then
    [ -z "$recorded" ] || [ ! "$held" -ef /dev/fd/9 ] || printf "\n-" 1<>"$held"
    exec 9>&-; held= recorded=
  fi
}

release() { free; say done; }

release_after() { if [ "$ok" ]; then free; say done; else say kept; fi; } # the write before it

ask() { if stands "$1"; then say done; else say lost; fi; }

remove() { # 1 folder 2 folder above 3.. its files, lock files first
  d=$1 a=$2; shift 2
  for i do
    p=$d/$i
    case $i in
    *.lock)
      if [ -h "$p" ]; then say failed remove not a lock file; return; fi
      [ -f "$p" ] || continue
      command exec 8<>"$p" || { say failed remove Permission denied; return; }
      flock -x -n 8 || { exec 8>&-; holder "$p"; return; }
      if is_database "$p"; then exec 8>&-; say foreign "$i"; return; fi
      if [ "$p" -ef /dev/fd/8 ]; then m=$(unlink -- "$p" 2>&1) || { exec 8>&-; say failed remove $m; return; }; fi
      exec 8>&-;;
    *) m=$(rm -f -- "$p" 2>&1) || { say failed remove $m; return; };;
    esac
  done
  m=$(rmdir -- "$d" 2>&1) || { say failed remove $m; return; }
  settle "$a" || { say unsettled $m; return; }
  say done
}

lives() ( # 1 process: it, or one of its group; what nobody has taken note of (Z) has ended
  set +f; grep -qs -e "^$1 (.*) [^ZX] " -e ") [^ZX] [0-9]* $1 " /proc/[0-9]*/stat
)

end() { # 1 process 2 its mark: a shell of a connection that has ended, and what it has started
  if [ ! -d /proc/self ]; then case $(ps -o args= -p "$1") in *"$2"*|""|"("*")"|"<defunct>") ;; *) return 0;; esac
  elif ! grep -qs -e "$2" "/proc/$1/cmdline" && grep -qs . "/proc/$1/cmdline"; then return 0; fi
  i=0 # with no command line: it has ended and nobody has taken note of it, and what it has started may live
  while kill -s KILL -- "-$1" || kill -s KILL "$1"; do # dash takes -KILL with no `--` behind it
    i=$((i + 1)); [ $i -lt 200 ] || return 1
    [ ! -d /proc/self ] || [ $i -le 20 ] || lives "$1" || return 0
    sleep 0.01
  done
  return 0
}

stop() { if end "$1" "$2"; then say done; else say alive; fi; }

finish() { # 1 process 2 its mark 3 temporary 4 document 5.. folders: what became of a change that was not answered
  end "$1" "$2" || { say alive; return; }
  x=$3 n=$4; shift 4
  t=-; [ -e "$x" ] && { t=temporary; rm -f -- "$x"; }
  [ ! -e "$n" ] || sync -- "$n"
  settle "$@"
  s=-; [ ! -f "$n" ] || { set -- "$1" $(sha256sum < "$n"); s=${2:-unreadable}; }
  say found $(date +%s.%N) $(stat -c %.9Z -- "$n" || echo -) $(stat -c %.9Z -- "$1" || echo -) $s $t
}

databases() { # 1.. lock files: a word for each
  for f do
    if [ "$(dd bs=15 count=1 status=none < "$f")" = "SQLite format 3" ]; then say database; else say other; fi
  done
}

records() { # 1.. lock files: who holds each, as far as it says
  for f do l= ; { IFS= read -r l && IFS= read -r l; } < "$f"; say record "$l"; done
  say time $(date +%s.%N)
}

while IFS= read -r line; do eval "$line"; done
free
"""
"""Read by the shell as a whole, before the first request."""


def start_command(mark: str) -> str:
    """The command that starts the program: one that every login shell reads alike.

    Args:
        mark: Stands in the process's name, so that it can be found again.
    """
    size = len(SCRIPT.encode())
    return f"exec /bin/sh -c 'eval \"$(dd bs=1 count={size} 2>/dev/null)\"' {mark}"


def call(function: str, *arguments: str) -> bytes:
    """A request, as one line.

    Args:
        function: A function of the program.
        arguments: Texts without line breaks.
    """
    return (" ".join([function, *map(shlex.quote, arguments)]) + "\n").encode("utf-8", "surrogateescape")
