//! QYZN V3.7 over TCP.
