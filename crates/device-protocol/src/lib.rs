//! What a device and the server say to each other: texts, signatures, proofs, without I/O.
