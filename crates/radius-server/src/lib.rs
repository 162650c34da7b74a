//! The RADIUS door: UDP listener between NAS and desk.
