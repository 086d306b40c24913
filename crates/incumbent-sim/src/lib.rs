//! Fault simulator and model checker over the election's state machine.
