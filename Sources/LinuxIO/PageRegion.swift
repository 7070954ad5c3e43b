internal import CLinux

/// Address space in pieces of some pages each, whose memory can be given back to the kernel while the addresses stay: a piece
/// that was dropped reads as zeros, and is resident again where it is written. One thread at a time.
///
/// Invariant that makes it safe: `base` names `capacity` pieces of `pieceBytes` each, mapped until this value is gone.
@safe public struct PageRegion: ~Copyable {
    private let base: UnsafeMutableRawPointer
    public let pieceBytes: Int
    public let capacity: Int

    /// Bytes of a page.
    public static var pageBytes: Int { 4096 }

    /// `nil` where the kernel grants no such address space. Nothing of it is resident.
    public init?(capacity: Int, pieceBytes: Int) {
        precondition(capacity > 0 && pieceBytes > 0 && pieceBytes % PageRegion.pageBytes == 0)
        let (byteCount, isOver) = capacity.multipliedReportingOverflow(by: pieceBytes)
        guard !isOver, let memory = unsafe cl_reserve_pages(byteCount) else { return nil }
        unsafe base = memory
        self.pieceBytes = pieceBytes
        self.capacity = capacity
    }

    /// Where a piece begins.
    @unsafe public func piece(_ index: Int) -> UnsafeMutableRawPointer {
        precondition(index >= 0 && index < capacity)
        return unsafe base + index * pieceBytes
    }

    /// Gives a piece's memory back (`madvise(2)`, MADV_DONTNEED).
    public func drop(_ index: Int) { unsafe cl_drop_pages(piece(index), pieceBytes) }

    deinit { unsafe cl_release_pages(base, capacity * pieceBytes) }
}
