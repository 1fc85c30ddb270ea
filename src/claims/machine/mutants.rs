//! The rules that the protocol depends on, each as a mutation that leaves it out.
//!
//! Promises: `gipam` never sets one; `tests/claims` does, and shows that each is found. A rule that no mutant needs can go.

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// At a new epoch the host says that it has arrived, and puts its slices back afterwards.
    EpochBeforeReasserting,
    /// A slice is deleted in the store before the books say that it is leaving.
    DeleteBeforeLeaving,
    /// A host that gave no sign for a while counts as gone.
    Ttl,
    /// A claim does not compare the slice.
    BlindPut,
    /// Books that are older than the store are believed.
    OldBooksWin,
    /// The books have a slice before the store says that it is this host's.
    BooksBeforeStore,
    /// Slices are claimed before all hosts arrived at a new epoch.
    NoBarrier,
    /// At a new epoch, slices that the store has and the books lack are taken over.
    AdoptInNewEpoch,
    /// A slice is deleted whatever its value.
    DeleteWithoutCompare,
    /// A slice is given back without a beat before.
    NoBeatBeforeGivingBack,
    /// A claim does not compare this host's own record.
    ClaimWithoutHost,
    /// A claim does not compare the plan.
    ClaimWithoutPlan,
    /// A store that is older than the books is not noticed.
    NoLookForRestored,
}

impl Mutant {
    pub const ALL: [Self; 13] = [
        Self::EpochBeforeReasserting,
        Self::DeleteBeforeLeaving,
        Self::Ttl,
        Self::BlindPut,
        Self::OldBooksWin,
        Self::BooksBeforeStore,
        Self::NoBarrier,
        Self::AdoptInNewEpoch,
        Self::DeleteWithoutCompare,
        Self::NoBeatBeforeGivingBack,
        Self::ClaimWithoutHost,
        Self::ClaimWithoutPlan,
        Self::NoLookForRestored,
    ];
}
