internal import CNghttp2
internal import LinuxIO
internal import Memory

// nghttp2 makes 9 KiB for each session and keeps them: the session itself, the table of its streams, two rings of HPACK, nearly
// all of it zeros while the connection is idle. It takes no other memory than what we give it, and that of a session's making
// comes from pages of its own here. A session that naps leaves the words in which it differs from the first that napped in a small
// piece of memory, and its pages to the kernel; when it wakes all are put back where they were, so that every address in them still
// holds.

/// The pages of all sessions of a workspace, and which are free.
@unsafe struct SessionArenas: ~Copyable {
    private let region: PageRegion?
    private let capacity: Int
    private let nextFree: UnsafeMutablePointer<Int32>
    private var firstResident: Int32 = -1
    private var firstDropped: Int32 = -1
    private var residentCount = 0
    private var used = 0

    /// Pages of one session: what nghttp2 1.52 makes is 9,136 bytes.
    static var bytes: Int { 3 * PageRegion.pageBytes }
    /// Free ones that stay resident.
    static var keptResident: Int { 64 }

    init(capacity: Int) {
        let made =
            capacity > 0 ? unsafe PageRegion(capacity: capacity, pieceBytes: SessionArenas.bytes) : nil
        let isGranted = made != nil
        unsafe self.capacity = isGranted ? capacity : 0
        unsafe region = made
        // Touched as it is used.
        unsafe nextFree = .allocate(capacity: max(capacity, 1))
    }

    /// The last that is done with it.
    func free() { unsafe nextFree.deallocate() }

    /// -1 when there is none.
    mutating func take() -> Int {
        if unsafe firstResident >= 0 {
            let index = unsafe Int(firstResident)
            unsafe firstResident = nextFree[index]
            unsafe residentCount &-= 1
            return index
        }
        if unsafe firstDropped >= 0 {
            let index = unsafe Int(firstDropped)
            unsafe firstDropped = nextFree[index]
            return index
        }
        guard unsafe used < capacity else { return -1 }
        unsafe used &+= 1
        return unsafe used &- 1
    }

    mutating func giveBack(_ index: Int) {
        guard index >= 0 else { return }
        if unsafe residentCount < SessionArenas.keptResident {
            unsafe nextFree[index] = firstResident
            unsafe firstResident = Int32(truncatingIfNeeded: index)
            unsafe residentCount &+= 1
        } else {
            unsafe drop(index)
            unsafe nextFree[index] = firstDropped
            unsafe firstDropped = Int32(truncatingIfNeeded: index)
        }
    }

    func piece(_ index: Int) -> UnsafeMutableRawPointer? { unsafe region?.piece(index) }
    func drop(_ index: Int) { unsafe region?.drop(index) }
}

extension WorkspaceState {
    /// Set in the capacity of a piece that is not the allocator's: freed with the pages that it lies in.
    static var arenaMark: Int { 1 << 62 }

    /// Memory for a session that is being made: the shared buffer for frames, or the next piece of the session's pages.
    @inline(never) static func allocateForSession(
        _ size: Int, in state: UnsafeMutablePointer<WorkspaceState>
    ) -> UnsafeMutableRawPointer? {
        if size > 16384, unsafe state.pointee.lendsFrameBuffer && size <= frameBufferBytes {
            unsafe state.pointee.lendsFrameBuffer = false
            return unsafe state.pointee.frameBuffer
        }
        let index = unsafe state.pointee.arenaOfNew
        guard index >= 0, let base = unsafe state.pointee.arenas.piece(index) else { return nil }
        let start = unsafe state.pointee.arenaUsed
        let capacity = (size &+ 15) & ~15
        guard unsafe start &+ PieceHeader.byteCount &+ capacity <= SessionArenas.bytes else { return nil }
        unsafe state.pointee.arenaUsed = start &+ PieceHeader.byteCount &+ capacity
        unsafe (base + start).bindMemory(to: PieceHeader.self, capacity: 1).initialize(
            to: PieceHeader(next: nil, capacity: capacity | arenaMark))
        return unsafe base + start + PieceHeader.byteCount
    }
}

/// The words of the first session of a workspace that napped. Most of what is not zero in the pages of a session is the same in
/// all: callbacks, allocator, limits, and addresses of the session's own pages, which are kept as distances from their start.
///
/// What a word is expected to be follows from the pattern and from where the pages lie, never from the word itself, so that any
/// session can be told apart from it, and put together again, whatever lies in it. It does not change once there are naps.
@unsafe struct NapPattern {
    private let words: UnsafeMutablePointer<UInt64>

    static var wordCount: Int { unsafe SessionArenas.bytes / 8 }
    static var groupCount: Int { unsafe (wordCount &+ 63) / 64 }

    /// Of the session in the pages at `base`, which has used so many words of them.
    init(of base: UnsafeMutablePointer<UInt64>, count: Int) {
        let all = unsafe NapPattern.groupCount &+ NapPattern.wordCount
        unsafe words = .allocate(capacity: all)
        unsafe words.initialize(repeating: 0, count: all)
        let start = UInt64(UInt(bitPattern: base))
        for word in 0..<count {
            let isDistance = unsafe base[word] &- start < UInt64(SessionArenas.bytes)
            if isDistance { unsafe words[word / 64] |= 1 &<< UInt64(word & 63) }
            unsafe words[NapPattern.groupCount &+ word] = isDistance ? base[word] &- start : base[word]
        }
    }

    /// What stands in that word of pages that begin at `base` and are like the first's.
    @inline(__always) func word(_ word: Int, at base: UnsafeMutablePointer<UInt64>) -> UInt64 {
        let isDistance = unsafe words[word / 64] &>> UInt64(word & 63) & 1
        return unsafe words[NapPattern.groupCount &+ word] &+ (isDistance &* UInt64(UInt(bitPattern: base)))
    }

    /// The last that is done with it.
    func free() { unsafe words.deallocate() }
}

extension SessionState {
    // What is saved: a word with a bit for each 64 words of the pages that has any that differ; for each of those a word with a bit
    // for each that does; then these themselves.

    /// Leaves the session's pages to the kernel. Nothing may look at nghttp2's memory until `wake`.
    @inline(never) static func nap(_ session: SessionPointer) {
        let workspace = unsafe session.pointee.workspace
        let index = unsafe session.pointee.arena
        guard index >= 0, unsafe session.pointee.asleep == nil,
            let base = unsafe workspace.pointee.arenas.piece(index)
        else { return }
        let words = unsafe base.assumingMemoryBound(to: UInt64.self)
        let count = unsafe session.pointee.arenaUsed / 8
        let pattern = unsafe workspace.pointee.napPattern ?? NapPattern(of: words, count: count)
        unsafe workspace.pointee.napPattern = pattern
        unsafe withUnsafeTemporaryAllocation(of: UInt64.self, capacity: NapPattern.groupCount) { masks in
            var groups = 0
            var kept = 0
            for group in 0..<(unsafe NapPattern.groupCount) {
                var mask: UInt64 = 0
                for word in group &* 64..<min(group &* 64 &+ 64, max(count, group &* 64))
                where unsafe words[word] != pattern.word(word, at: words) {
                    mask |= 1 &<< UInt64(word & 63)
                }
                unsafe masks[group] = mask
                kept &+= mask.nonzeroBitCount
                groups &+= mask == 0 ? 0 : 1
            }
            let size = 1 &+ groups &+ kept
            let memory = UnsafeMutableRawPointer.allocate(byteCount: size &* 8, alignment: 8)
            let saved = unsafe memory.bindMemory(to: UInt64.self, capacity: size)
            unsafe saved.initialize(repeating: 0, count: size)
            var nextMask = 1
            var next = 1 &+ groups
            for group in 0..<(unsafe NapPattern.groupCount) {
                var mask = unsafe masks[group]
                if mask == 0 { continue }
                unsafe saved[0] |= 1 &<< UInt64(group)
                unsafe saved[nextMask] = mask
                nextMask &+= 1
                while mask != 0 {
                    unsafe saved[next] = words[group &* 64 &+ mask.trailingZeroBitCount]
                    next &+= 1
                    mask &= mask &- 1
                }
            }
            unsafe session.pointee.asleep = saved
        }
        unsafe workspace.pointee.arenas.drop(index)
    }

    /// Puts everything back where it was.
    @inline(never) static func wake(_ session: SessionPointer) {
        let workspace = unsafe session.pointee.workspace
        guard let saved = unsafe session.pointee.asleep,
            let base = unsafe workspace.pointee.arenas.piece(session.pointee.arena),
            let pattern = unsafe workspace.pointee.napPattern
        else { return }
        let words = unsafe base.assumingMemoryBound(to: UInt64.self)
        let count = unsafe session.pointee.arenaUsed / 8
        let groups = unsafe saved[0]
        var nextMask = 1
        var next = 1 &+ groups.nonzeroBitCount
        for group in 0..<(unsafe NapPattern.groupCount) {
            var mask: UInt64 = 0
            if groups &>> UInt64(group) & 1 == 1 {
                mask = unsafe saved[nextMask]
                nextMask &+= 1
            }
            for word in group &* 64..<min(group &* 64 &+ 64, max(count, group &* 64)) {
                if mask &>> UInt64(word & 63) & 1 == 1 {
                    unsafe words[word] = saved[next]
                    next &+= 1
                } else {
                    unsafe words[word] = pattern.word(word, at: words)
                }
            }
        }
        unsafe saved.deallocate()
        unsafe session.pointee.asleep = nil
    }

    @inline(__always) static func beAwake(_ session: SessionPointer) {
        if unsafe session.pointee.asleep != nil { unsafe wake(session) }
    }
}

extension HTTP2Session {
    /// For a connection that has been idle for a while: gives most of its memory back until something is asked of it. `false`
    /// when it has streams, or when its workspace was made without pages for it.
    @discardableResult public mutating func nap() -> Bool {
        guard unsafe state.pointee.knownStreams == 0, unsafe state.pointee.arena >= 0 else { return false }
        unsafe SessionState.nap(state)
        return true
    }

    /// Whether it naps.
    public var isAsleep: Bool { unsafe state.pointee.asleep != nil }
}
