// Decodes a short record of ccnvr (docs/short-record.md), as a payload formatter of a LoRaWAN
// network server: decodeUplink({bytes: [...]}) returns {data, warnings, errors}.
var PROPERTIES = ["OC", "N", "CEC", "pH", "clay", "sand", "silt", "CaCO3", "pH_CaCl2", "pH_KCl"];
var VERDICTS = ["", "ok", "laboratory", "rescan"];
var FLAGS = ["rescan", "out_of_domain", "reference", "noisy", "outside_training_range", "check_sample", "other"];
var HEAD = 18;
var EACH = 5;

function unsigned(bytes, at, count) {
  var value = 0;
  for (var i = 0; i < count; i++) {
    value = value * 256 + bytes[at + i];
  }
  return value;
}

function signed(bytes, at) {
  var value = unsigned(bytes, at, 4);
  return value >= 2147483648 ? value - 4294967296 : value;
}

// A 16-bit float (IEEE 754 binary16); null where it is not a number.
function half(bits) {
  var sign = bits >= 32768 ? -1 : 1;
  var exponent = (bits >> 10) & 31;
  var fraction = bits & 1023;
  if (exponent === 31) {
    return null;
  }
  if (exponent === 0) {
    return sign * fraction * Math.pow(2, -24);
  }
  return sign * (1 + fraction / 1024) * Math.pow(2, exponent - 15);
}

function refused(reason) {
  return { data: {}, warnings: [], errors: [reason] };
}

function decodeUplink(input) {
  var bytes = input.bytes;
  if (bytes.length < HEAD || bytes[0] >> 4 !== 1) {
    return refused(bytes.length + " bytes are not a short record of version 1");
  }
  var count = bytes[0] & 15;
  if (count > 5 || bytes.length !== HEAD + count * EACH) {
    return refused("a short record with " + count + " properties does not have " + bytes.length + " bytes");
  }
  var bits = bytes[17];
  if (bits >> FLAGS.length) {
    return refused("the flags have bits without a meaning");
  }
  var latitude = signed(bytes, 9);
  var longitude = signed(bytes, 13);
  var data = {
    id_crc: unsigned(bytes, 1, 4),
    time: unsigned(bytes, 5, 4),
    latitude: latitude === -2147483648 ? null : latitude / 1e7,
    longitude: latitude === -2147483648 ? null : longitude / 1e7,
    flags: FLAGS.filter(function (flag, place) {
      return (bits >> place) & 1;
    }),
    predictions: {},
  };
  for (var i = 0; i < count; i++) {
    var at = HEAD + i * EACH;
    var name = PROPERTIES[bytes[at] >> 2];
    if (!name || data.predictions[name]) {
      return refused("property number " + (bytes[at] >> 2) + " is unknown or given twice");
    }
    data.predictions[name] = {
      value: half(unsigned(bytes, at + 1, 2)),
      half_width: half(unsigned(bytes, at + 3, 2)),
      verdict: VERDICTS[bytes[at] & 3],
    };
  }
  return { data: data, warnings: [], errors: [] };
}
