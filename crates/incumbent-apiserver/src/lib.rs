//! Enough of the Kubernetes API, in one process.
