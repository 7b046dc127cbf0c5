"""Sans-I/O codecs: one file per wire protocol, bytes in and values out, used by apis and backends."""
