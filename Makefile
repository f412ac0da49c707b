# Menshen. `make run` and `make test` need Debian 12, a Rust toolchain, and root or sudo.

CARGO ?= cargo
BUILT = $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run test bench lint deny setup cross licences image bundle test-boot gate test-gate

help:
	@echo "make run     set up, build and run the demonstration: http://127.0.0.1:8080"
	@echo "make test    set up and run every test that a laptop can"
	@echo "make bench   set up and measure this machine, beside OpenCV, face_recognition and faiss"
	@echo "make setup   set up only: Debian packages, models, pictures (for an owner's own cargo commands)"
	@echo "make cross   build menshen for a gate: aarch64, Debian 12"
	@echo "make image   build a gate's disk image, and its root filesystem for boards"
	@echo "make bundle  a signed update of that image (docs/update.md)"
	@echo "make test-boot  the boot script in U-Boot: updates, roll-backs, power cuts"
	@echo "make gate    build the emulated gate and boot it in QEMU: docs/emulated-gate.md"
	@echo "make test-gate  build it and run its acceptance (THOROUGH=1: what takes minutes, too)"
	@echo "make licences  the licences of all that is linked, as text"
	@echo "make lint    formatting and clippy"
	@echo "make deny    licences, sources and known holes of the crates"

run:
	scripts/setup.sh run
	$(CARGO) build --release --locked
	scripts/demo.sh

test:
	scripts/setup.sh test
	scripts/test.sh

bench:
	scripts/setup.sh bench
	$(CARGO) build --release --locked
	.setup/venv/bin/python scripts/bench_peers.py --menshen $(BUILT)/release/menshen

setup:
	scripts/setup.sh test

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

deny:
	scripts/deny.sh

cross:
	scripts/setup.sh cross
	scripts/cross.sh

licences:
	@mkdir -p $(BUILT)
	scripts/licences.py >$(BUILT)/licences.txt
	@echo "licences: $(BUILT)/licences.txt"

image:
	scripts/setup.sh image
	scripts/image.sh

bundle:
	scripts/setup.sh image
	scripts/bundle.sh

test-boot:
	scripts/setup.sh test
	scripts/test_boot.sh

gate:
	scripts/setup.sh gate
	$(CARGO) build --locked
	scripts/gate/build.sh
	scripts/gate/boot.py --menshen $(BUILT)/debug/menshen --image $(BUILT)/gate/gate.img

test-gate:
	scripts/setup.sh gate
	$(CARGO) build --locked
	scripts/gate/build.sh $(if $(THOROUGH),thorough,test)
	scripts/gate/acceptance.py --menshen $(BUILT)/debug/menshen --image $(BUILT)/gate/gate.img \
	    --bundles $(BUILT)/gate/bundles --tests $(BUILT)/gate/tests $(if $(THOROUGH),--thorough)
