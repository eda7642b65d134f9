// Choosing a photo for "Load MVTec Photo" by looking: a dialog that lists what the typed root holds, and a thumbnail
// on the node. Only the values of the node's own widgets are ever written, so graphs saved with and without this
// script are the same, and a graph runs headlessly without it.

import { app } from "../../../scripts/app.js"
import { fetchTexts, style, text, widget } from "./dataset_server.js"
import { PhotoWidget, watch } from "./dataset_widget.js"

const NODE = "DefectForgeLoadMVTec"

const isOurs = (node) => node?.comfyClass === NODE || node?.constructor?.comfyClass === NODE
const entry = (node) => ({ content: text("browseLong"), callback: () => node.defectforgePhoto.browse() })

app.registerExtension({
    name: "DefectForge.dataset",

    async init() {
        style("dataset.css")
        await fetchTexts()
        watch()
    },

    // Windows before 1.29 know only the menu of a node itself (below).
    getNodeMenuItems: (node) => (isOurs(node) ? [entry(node)] : []),

    nodeCreated(node) {
        if (!isOurs(node)) return
        // Stepping to another photo after each run is wished for only where a person says so; the window's own default
        // is "randomize". A saved graph sets its own value after this.
        const control = widget(node, "index")?.linkedWidgets?.[0]
        if (control) control.value = "fixed"

        node.defectforgePhoto = new PhotoWidget(node)
        const [least, now] = [node.computeSize(), node.size]
        node.setSize([Math.max(now[0], least[0]), Math.max(now[1], least[1])])

        if (typeof app.collectNodeMenuItems !== "function") {
            const { getExtraMenuOptions } = node
            node.getExtraMenuOptions = function (canvas, options) {
                options.unshift(entry(this), null)
                return getExtraMenuOptions?.call(this, canvas, options)
            }
        }
    },
})
