//! x
#![allow(missing_docs, unused_variables)]
use super::{Models, Template};
use crate::Result;
pub struct Examiner;
pub struct Examined {
    pub template: Template,
}
impl Examiner {
    pub fn new(models: &Models) -> Result<Self> {
        unimplemented!()
    }
    pub fn examine(&mut self, bytes: &[u8]) -> Result<Examined> {
        unimplemented!()
    }
}
