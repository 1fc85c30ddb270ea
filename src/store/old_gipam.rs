//! Old gipam lease files: see branch.
