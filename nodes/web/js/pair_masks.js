// Masks of a saved pair on a canvas: from the record's run-length code, or from the mask's file.

const COLOUR = [26, 242, 64] // as on the server: green is rare on machined and natural parts alike
const TINT = 0.35

/**
 * One byte a pixel at the wanted size, from COCO's uncompressed run-length code (column by column, zeros first).
 * Any marked pixel counts: a small hole must not vanish in a smaller picture.
 */
export function fromRuns({ size: [height, width], counts }, [wide, tall]) {
    const marked = new Uint8Array(wide * tall)
    let place = 0
    counts.forEach((count, number) => {
        const end = place + count
        for (; number % 2 && place < end; place++) {
            const [x, y] = [Math.floor(place / height), place % height]
            marked[Math.floor((y * tall) / height) * wide + Math.floor((x * wide) / width)] = 1
        }
        place = end
    })
    return marked
}

/** The same from a picture of 0 and 255. */
export function fromPicture(picture, [wide, tall]) {
    const canvas = Object.assign(document.createElement("canvas"), { width: wide, height: tall })
    const drawing = canvas.getContext("2d", { willReadFrequently: true })
    drawing.drawImage(picture, 0, 0, wide, tall)
    const pixels = drawing.getImageData(0, 0, wide, tall).data
    return Uint8Array.from({ length: wide * tall }, (_, place) => (pixels[4 * place] > 0 ? 1 : 0))
}

/** Tint the marked pixels of a drawing and draw their outline. */
export function drawMask(drawing, marked, [wide, tall]) {
    const picture = drawing.getImageData(0, 0, wide, tall)
    const inside = (x, y) => x >= 0 && y >= 0 && x < wide && y < tall && marked[y * wide + x]
    for (let y = 0; y < tall; y++) {
        for (let x = 0; x < wide; x++) {
            if (!marked[y * wide + x]) continue
            const rim = !(inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1))
            const share = rim ? 1 : TINT
            for (let band = 0; band < 3; band++) {
                const at = 4 * (y * wide + x) + band
                picture.data[at] = picture.data[at] * (1 - share) + COLOUR[band] * share
            }
        }
    }
    drawing.putImageData(picture, 0, 0)
}
