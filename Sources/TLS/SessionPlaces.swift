internal import COpenSSL

/// Where the memory of sessions comes from.
public enum SessionPlaces {
    /// Gives OpenSSL's `SSL` and the largest of its parts places of their own sizes, which the allocator would round up by 0.7 KiB.
    /// Called once, at the start of the program, before anything of OpenSSL's; later it changes nothing.
    public static func prepare() {
        _ = copenssl_use_places()
    }

    /// The bytes of the places that sessions have, which the allocator's own account does not know.
    public static var takenBytes: Int {
        [Int(COPENSSL_PLACE_BYTES), Int(COPENSSL_PART_PLACE_BYTES)].reduce(0) {
            $0 + copenssl_places_taken($1) * $1
        }
    }
}
