// "Save Defect Pair" shows its pairs in a view of its own, in the place of the window's rows of pictures.

import { app } from "../../../scripts/app.js"
import { fetchTexts, language, settle, style } from "./dataset_server.js"
import { PairView } from "./pair_view.js"

const NODE = "DefectForgeSaveDefectPair"
const LOOK = 500 // milliseconds between two looks at the window's language and at what it has drawn

app.registerExtension({
    name: "DefectForge.pairs",

    async init() {
        style("pairs.css")
        await fetchTexts()
        setInterval(() => {
            for (const view of PairView.living) {
                settle(view, ".defectforge-pairs")
                if (view.element.isConnected && view.said !== language()) view.draw()
            }
        }, LOOK)
    },

    nodeCreated(node) {
        if ((node.comfyClass ?? node.constructor?.comfyClass) !== NODE) return
        // The window's own preview of the same files: Nodes 2.0 asks the first, the classic renderer the second.
        node.hideOutputImages = true
        Object.defineProperty(node, "imgs", { get: () => undefined, set: () => {}, configurable: true })
        const { onExecuted } = node
        node.onExecuted = function (output) {
            onExecuted?.call(this, output)
            if (!output?.defectforge_pairs) return
            // Only now: before a run there is nothing to show, and graphs are laid out without it.
            this.defectforgePairs ??= new PairView(this)
            this.defectforgePairs.show(output)
        }
    },
})
