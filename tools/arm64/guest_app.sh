# Runs in the emulated computer: wait for the cable, find the instrument at its end, then run the daemon until it has
# its scans.
export PATH=$PATH:/opt/app
while [ ! -e /dev/ttyUSB0 ]; do echo GUEST-READY; sleep 1; done
ccnvr="python3 -m ccnvr.edge.cli"
$ccnvr instruments --json | sed 's/^/GUEST-SEES /'
echo GUEST-SEEN
# Without udev there is no link to the adapter by its serial number, so it must come back under its own name.
$ccnvr run --instrument "serial:///dev/ttyUSB0?baud=115200" --store /tmp/s.sqlite --count "$(cat count)" 2>&1 | sed 's/^/GUEST-SAYS /'
python3 stored.py
