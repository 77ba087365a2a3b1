//! Data objects: blocks and their layouts, search inside blocks, footer. Bytes in, bytes out. Pure.
