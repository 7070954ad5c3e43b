internal import YAML

/// The nearest right spelling of a wrong one.
package struct Spelling {
    /// Cells of the distance tables that one file may cost, about 10 ms: a file that is wrong in thousands of places, each to be
    /// held against a thousand long names, is told what is wrong and not what it may have meant.
    private var cellsLeft = 1 << 20

    package init() {}

    /// `; did you mean 'x'?` for the nearest of `known`, or nothing when none is near: one slip in short words, one in three
    /// letters in longer ones.
    package mutating func suggestion(for word: String, among known: some Sequence<String>) -> String {
        guard cellsLeft > 0 else { return "" }
        let bytes = Array(word.utf8)
        let most = max(1, bytes.count / 3)
        var nearest: (word: String, distance: Int)?
        for candidate in known {
            let length = candidate.utf8.count
            guard length <= bytes.count + most, bytes.count <= length + most else { continue }
            cellsLeft -= (bytes.count + 1) * (length + 1)
            guard cellsLeft >= 0 else { return "" }
            let found = Self.distance(bytes, Array(candidate.utf8))
            // Of two equally near the first in the alphabet, because `known` may come in any order.
            if let best = nearest, (best.distance, best.word) <= (found, candidate) { continue }
            nearest = (candidate, found)
        }
        guard let nearest, nearest.distance <= most else { return "" }
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
