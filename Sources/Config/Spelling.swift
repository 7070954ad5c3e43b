internal import YAML

/// The nearest right spelling of a wrong one.
enum Spelling {
    /// Longer words are not compared: the table below is quadratic.
    private static let longestBytes = 64

    /// `; did you mean 'x'?` for the nearest of `known`, or nothing when none is near: one slip in short words, one in three
    /// letters in longer ones.
    static func suggestion(for word: String, among known: some Sequence<String>) -> String {
        let bytes = Array(word.utf8)
        guard bytes.count <= longestBytes else { return "" }
        var nearest: (word: String, distance: Int)?
        for candidate in known where candidate.utf8.count <= longestBytes {
            let found = distance(bytes, Array(candidate.utf8))
            if found < nearest?.distance ?? .max { nearest = (candidate, found) }
        }
        guard let nearest, nearest.distance <= max(1, bytes.count / 3) else { return "" }
        return "; did you mean \(nearest.word.shown)?"
    }

    /// How many bytes to insert, delete, replace or swap with their neighbour (optimal string alignment).
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforePrevious: [Int] = []
        var previous = Array(0...right.count)
        for row in left.indices {
            var current = [row + 1]
            for column in right.indices {
                let replaced = previous[column] + (left[row] == right[column] ? 0 : 1)
                var best = min(replaced, previous[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    best = min(best, beforePrevious[column - 1] + 1)
                }
                current.append(best)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[right.count]
    }
}
