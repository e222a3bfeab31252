#!/bin/sh
# Install ccnvr as a service on Raspberry Pi OS or Debian, or update it: sudo packaging/install.sh
#
#   --uninstall   stop and remove it; configuration and store stay
#   --purge       with --uninstall: remove configuration and store too
#   --help        print this and exit
#
# ENGINE=onnx|litert|tflite|none chooses the engine and removes any other; none leaves ccnvr's own
# NumPy interpreter. Without ENGINE, an update keeps what is installed, and a first installation
# takes onnx. DESTDIR=/folder installs into another root without touching users, services or
# devices. PYTHON and PIP_OPTIONS may be set as well.
# Run it again at any time: what is in place stays, and your configuration is never overwritten.
# Exit codes: 0 done, 1 failed, 2 wrong use.
set -eu

DESTDIR=${DESTDIR:-}
ENGINE=${ENGINE:-}
PYTHON=${PYTHON:-python3}
PIP_OPTIONS=${PIP_OPTIONS:-}
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
PREFIX=$DESTDIR/opt/ccnvr
CONFIGURATION=$DESTDIR/etc/ccnvr/ccnvr.toml
UNIT=$DESTDIR/etc/systemd/system/ccnvr.service
RULES=$DESTDIR/etc/udev/rules.d/90-ccnvr.rules
COMMAND=$DESTDIR/usr/local/bin/ccnvr
STATE=$DESTDIR/var/lib/ccnvr

say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $*" >&2; exit 1; }
wrong() { echo "install.sh: $*" >&2; exit 2; }
usage() { sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"; exit 0; }
on_this_system() { [ -z "$DESTDIR" ]; }
with_systemd() { on_this_system && [ -d /run/systemd/system ]; }

uninstall() {
    with_systemd && systemctl disable --now ccnvr.service >/dev/null 2>&1 || true
    rm -f "$UNIT" "$RULES"
    # Only what this script made: the user may have a command of that name.
    [ "$(readlink "$COMMAND" 2>/dev/null || true)" = /opt/ccnvr/bin/ccnvr ] && rm -f "$COMMAND"
    rm -rf "$PREFIX"
    with_systemd && systemctl daemon-reload
    if [ "$PURGE" = yes ]; then
        rm -rf "$STATE" "$(dirname "$CONFIGURATION")"
        on_this_system && id ccnvr >/dev/null 2>&1 && userdel ccnvr
        say "removed, with its configuration and its store"
    else
        say "removed; $CONFIGURATION and $STATE stay (--purge removes them)"
    fi
    exit 0
}

check() {
    on_this_system && [ "$(id -u)" -ne 0 ] && fail "run it as root: sudo packaging/install.sh"
    # A bare Debian has no Python, and that of Raspberry Pi OS may lack the module venv.
    if on_this_system && ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        say "installing python3 and python3-venv"
        apt-get install --yes --quiet python3 python3-venv >/dev/null ||
            fail "python3-venv cannot be installed; run apt-get update and try again"
    fi
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "Python 3.11 or newer is needed; update Raspberry Pi OS, or set PYTHON=/path/to/python3"
}

add_user() {
    on_this_system || return 0
    id ccnvr >/dev/null 2>&1 ||
        useradd --system --user-group --home-dir /var/lib/ccnvr --shell /usr/sbin/nologin ccnvr
    # The group that owns serial ports.
    getent group dialout >/dev/null && usermod --append --groups dialout ccnvr
    return 0
}

# Read from the folders rather than by the Python in $PREFIX, which sees none of its packages after
# the system got a newer Python.
has() { ls -d "$PREFIX"/lib/python3*/site-packages/"$1"-*.dist-info >/dev/null 2>&1; }

# The extras of the engines that are installed, as in onnx,litert; nothing before the first time.
installed_extras() {
    extras=""
    has onnxruntime && extras=onnx
    has ai_edge_litert && extras=${extras:+$extras,}litert
    has tflite_runtime && extras=${extras:+$extras,}tflite
    [ -z "$extras" ] && has ccnvr && extras=none
    echo "$extras"
}

# A file that cannot be read is the daemon's to report, so that an update can still mend the rest.
configured_engine() {
    "$PYTHON" -c '
import sys, tomllib
try:
    model = tomllib.load(open(sys.argv[1], "rb"))["model"]
    print(model.get("engine") or model["backend"])
except (OSError, ValueError, KeyError, TypeError, AttributeError):
    print("auto")' "$CONFIGURATION"
}

# An engine that the configuration names would be used, or missed, whatever is installed.
check_configured() {
    CONFIGURED=$(configured_engine)
    [ -n "$ENGINE" ] && [ "$CONFIGURED" != auto ] || return 0
    case $ENGINE:$CONFIGURED in
        none:numpy | tflite:litert | "$ENGINE:$ENGINE") ;;
        *) fail "$CONFIGURATION names engine = \"$CONFIGURED\", so ENGINE=$ENGINE would have no" \
                "effect; delete that line, then run this again" ;;
    esac
}

self_test() {
    "$PREFIX/bin/python" -m ccnvr.edge.cli inspect default:nir --engine "$1" ||
        fail "the model default:nir does not pass its self-test on the engine $1 here; try" \
            "another ENGINE"
}

# The others go, because auto would take onnxruntime before them.
remove_other_engines() {
    case $ENGINE in
        onnx) name=onnx package=onnxruntime ;;
        none) name=numpy package="" ;;
        # The extra tflite takes LiteRT where that has a release.
        *) name=litert package=ai_edge_litert
           [ "$ENGINE" = tflite ] && has tflite_runtime && name=tflite package=tflite_runtime ;;
    esac
    # Before another engine is removed, this one has to work.
    self_test "$name" >/dev/null
    for other in onnxruntime ai_edge_litert tflite_runtime; do
        if [ "$other" != "$package" ] && has "$other"; then
            say "removing the engine $other"
            "$PREFIX/bin/python" -m pip --disable-pip-version-check --quiet uninstall --yes "$other" ||
                fail "$other cannot be removed; see pip's message above"
        fi
    done
}

install_program() {
    extra=${ENGINE:-$(installed_extras)}
    extra=[${extra:-onnx}]
    [ "$extra" = "[none]" ] && extra=""
    [ -x "$PREFIX/bin/python" ] || "$PYTHON" -m venv "$PREFIX"
    say "installing ccnvr$extra into $PREFIX"
    # A copy, because building leaves files in the source, which would belong to root.
    BUILDING=$(mktemp -d)
    trap 'rm -rf "$BUILDING"' EXIT
    for part in edge train export firmware_bridge pyproject.toml README.md LICENSE; do
        cp -R "$SOURCE/$part" "$BUILDING"
    done
    # shellcheck disable=SC2086 - several options
    "$PREFIX/bin/python" -m pip --disable-pip-version-check --quiet install --upgrade \
        --constraint "$SOURCE/constraints.txt" $PIP_OPTIONS "$BUILDING$extra" ||
        fail "the packages cannot be installed; see pip's message above"
    mkdir -p "$(dirname "$COMMAND")"
    [ -e "$COMMAND" ] || [ -L "$COMMAND" ] || ln -s /opt/ccnvr/bin/ccnvr "$COMMAND"
    [ -z "$ENGINE" ] || remove_other_engines
    described=$(self_test "$CONFIGURED")
    say "engine in use: $(echo "$described" | sed -n 's/^self-test passed on \(.*\): .*/\1/p')"
}

install_files() {
    mkdir -p "$(dirname "$CONFIGURATION")" "$(dirname "$UNIT")" "$(dirname "$RULES")"
    if [ -e "$CONFIGURATION" ]; then
        say "$CONFIGURATION is kept"
    else
        install -m 0640 "$SOURCE/packaging/ccnvr.toml" "$CONFIGURATION"
        on_this_system && chgrp ccnvr "$CONFIGURATION"
    fi
    install -m 0644 "$SOURCE/packaging/ccnvr.service" "$UNIT"
    on_this_system && [ ! -e "$RULES" ] || return 0
    # Rules for the USB ports that are plugged in now; none is opened.
    if "$PREFIX/bin/ccnvr" instruments --list --udev "$RULES" >/dev/null 2>&1; then
        say "wrote $RULES for the USB ports that are plugged in"
        { udevadm control --reload && udevadm trigger; } 2>/dev/null || true
    else
        say "no USB port is plugged in; later, write rules with: ccnvr instruments --udev $RULES"
    fi
}

start() {
    with_systemd || { say "installed; systemd is not running here, so nothing was started"; exit 0; }
    systemctl daemon-reload
    systemctl enable --quiet ccnvr.service
    systemctl restart --no-block ccnvr.service
    say "installed and started; set [instrument] url in $CONFIGURATION, then: systemctl reload ccnvr"
    say "see how it is: systemctl status ccnvr, journalctl -u ccnvr, ccnvr doctor -c $CONFIGURATION"
}

ACTION=install PURGE=no
for argument in "$@"; do
    case $argument in
        --uninstall) ACTION=uninstall ;;
        --purge) PURGE=yes ;;
        -h | --help) usage ;;
        *) wrong "$argument is no option; the options are --uninstall, --purge and --help" ;;
    esac
done
[ "$ACTION" = uninstall ] && uninstall
[ "$PURGE" = yes ] && wrong "--purge goes with --uninstall"
case $ENGINE in
    "" | onnx | litert | tflite | none) ;;
    *) wrong "ENGINE=$ENGINE is no engine; the engines are onnx, litert, tflite and none" ;;
esac
check
check_configured
add_user
install_program
install_files
start
