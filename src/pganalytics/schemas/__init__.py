"""The contract: record schemas, codec, headers, identity, topics. No I/O, no logging, no clients."""
