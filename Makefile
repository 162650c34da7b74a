# Thin on purpose: what is done, and how, stands in scripts/.
.PHONY: help run test ci demo-rdp soak clean-demo

help:
	@echo "make run        build, and start a demo server with its data in ./demo-data"
	@echo "make demo-rdp   a real Remote Desktop host that asks the demo server (needs root)"
	@echo "make test       install what the tests need and run all of them"
	@echo "make ci         the checks and Rust tests only (cargo xtask ci)"
	@echo "make soak       the long runs (cargo xtask soak)"
	@echo "make clean-demo forget the demo's data"

run:
	@scripts/run

test:
	@scripts/test

ci:
	@cargo xtask ci

demo-rdp:
	@scripts/demo-rdp

soak:
	@cargo xtask soak

clean-demo:
	rm -rf demo-data
