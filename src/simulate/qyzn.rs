//! The QYZN platform.
