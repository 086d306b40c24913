//! The election as one pure state machine.
