# In the emulated computer: wait for the cable, look who is at its end, then run the daemon until it has its scans.
export PATH=$PATH:/opt/app
while [ ! -e /dev/ttyUSB0 ]; do echo GUEST-READY; sleep 1; done
ccnvr="python3 -m ccnvr.edge.cli"
$ccnvr instruments --json | sed 's/^/GUEST-SEES /'
echo GUEST-SEEN
# The adapter must be back under its own name before it is used again; without udev there is no link to it by its serial number.
$ccnvr run --instrument "serial:///dev/ttyUSB0?baud=115200" --store /tmp/s.sqlite --count "$(cat count)" 2>&1 | sed 's/^/GUEST-SAYS /'
python3 stored.py
