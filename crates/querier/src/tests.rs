//! Queries from text to answer, over a store in a directory and ingesters that the test controls.

mod bed;
mod bounds;
mod damage;
mod deletes;
mod endpoints;
mod explaining;
mod indexes;
mod limits;
mod lines;
mod merging;
mod patterns;
mod recent;
mod requests;
mod reusing;

pub(crate) use bed::range_query;
