"""Predict five scans of an instrument: python examples/stream_instrument.py serial:///dev/ttyACM0

Without a URL it simulates an instrument. `ccnvr run` does the same and stores each scan.
"""

import sys

from ccnvr.edge import Pipeline, References, load_bundle
from ccnvr.firmware_bridge import ScanKind, Settings, open_instrument

instrument = open_instrument(sys.argv[1] if len(sys.argv) > 1 else "sim://")
info = instrument.identify()
instrument.configure(Settings(integration_us=10_000, averages=16))
dark = instrument.scan(ScanKind.DARK)
white = instrument.scan(ScanKind.WHITE)  # the white panel belongs under the probe now
predictor = load_bundle("default").bind(info.wavelengths_nm)
predict = Pipeline(predictor, info, References(dark, white, panel_reflectance=0.99))
for _ in range(5):
    scan = instrument.scan(ScanKind.SAMPLE)
    prediction = predict(scan)
    print(prediction.get("OC", "scan again"), *prediction.flags)
    instrument.acknowledge(scan)  # the instrument may forget it
instrument.close()
