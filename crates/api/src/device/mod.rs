//! The device API, `/device/v1/`: see `docs/reference/device-protocol.md`.
