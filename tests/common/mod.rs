pub(crate) mod official;
