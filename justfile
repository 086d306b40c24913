# The commands of CONTRIBUTING.md, for `just`. `just` alone lists them.

default:
	@just --list

# The protocol's tests: built in seconds.
core:
	cargo test -p incumbent-core

# Everything, with real processes.
test *filter:
	cargo test --workspace {{filter}}

# What the gate checks without running anything.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The gate: what a change has to pass.
gate:
	bash .ci/run

# Seeds of the simulation, such as `just seeds 0..100000`.
seeds range="0..10000":
	cargo run --release -p incumbent-sim -- --seeds {{range}}

# Seeded bugs, all or by name: each must be found.
mutants *names:
	crates/incumbent-sim/mutants/run {{names}}

# Write scenarios, the table and the manifests again; read the difference before you commit it.
update:
	UPDATE_SCENARIOS=1 cargo test -p incumbent-core
	UPDATE_MANIFESTS=1 cargo test --workspace --test manifests

# docs/ as a book with search.
book:
	mdbook serve

demo:
	cargo run --release -- demo

# Beside other electors, and groups: an hour of a quiet machine.
bench:
	bench/build
	bench/run
	bench/groups
