//! Parts for tests: fake clock, seeded randomness, scripted NAS and device.
