//! The composition root: reads the configuration, builds the parts, runs and stops them.
