-- Bytes of small blobs. Their keys are in the other tables as those of bytes in the store are.
CREATE TABLE small_data (
    data_key {text} PRIMARY KEY,
    bytes {bytes} NOT NULL
);
