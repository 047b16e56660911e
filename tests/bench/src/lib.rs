//! Benches of whole parts; see `calls` and `start` beside this folder. `make bench` runs them.
