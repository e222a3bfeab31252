#!/bin/sh
# What a newcomer does on the bare computer of newcomer.sh; it runs once after each of two boots.
exec > /dev/ttyAMA0 2>&1
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PIP_OPTIONS="--no-index --find-links /wheels" SYSTEMD_PAGER=
STORE=/var/lib/ccnvr/ccnvr.sqlite CONFIGURATION=/etc/ccnvr/ccnvr.toml

uptime_s() { cut -d. -f1 /proc/uptime; }

step() {
    name=$1 began=$(uptime_s)
    shift
    echo "@@ $name: $*"
    "$@"
    echo "@@ $name ended with $? after $(($(uptime_s) - began)) s"
}

query() {
    /opt/ccnvr/bin/python -c "import sqlite3, sys
for row in sqlite3.connect('file:$STORE?mode=ro', uri=True).execute(sys.argv[1]): print(*row)" "$1"
}

count() { query "SELECT count(*) FROM scans" 2>/dev/null || echo 0; }

more_scans() {
    wanted=$(($(count) + $1)) tries=0
    while [ "$(count)" -lt "$wanted" ] && [ $tries -lt 60 ]; do
        sleep 5
        tries=$((tries + 1))
    done
    query "SELECT scan_id, flags, substr(predictions, 1, 80) FROM scans ORDER BY id DESC LIMIT $1"
    [ "$(count)" -ge "$wanted" ]
}

if [ ! -e /root/booted ]; then
    touch /root/booted
    step "the computer" uname -a
    step install sh /root/ccnvr/packaging/install.sh
    step instruments ccnvr instruments
    sed -i "s|/dev/ttyACM0|/dev/ttyUSB0|" $CONFIGURATION
    step doctor ccnvr doctor -c $CONFIGURATION
    step reload systemctl reload ccnvr
    step scans more_scans 3
    step status systemctl status ccnvr
    step doctor ccnvr doctor -c $CONFIGURATION
    step kill systemctl kill -s KILL ccnvr
    step "scans after kill" more_scans 2
    step stop systemctl stop ccnvr
    step start systemctl start ccnvr
    step journal journalctl -u ccnvr
    step security systemd-analyze security ccnvr
    echo "@@ reboot"
    systemctl reboot
else
    step "scans after reboot" more_scans 2
    step status systemctl status ccnvr
    step journal journalctl -b -u ccnvr
    step uninstall sh /root/ccnvr/packaging/install.sh --uninstall
    echo "@@ END"
    systemctl poweroff
fi
