// node clip.mjs FOLDER PEER CLIP WIDTH HEIGHT: what a package on npm says of every frame of a clip, and when.
//
// FOLDER holds node_modules; the clip's frames are WIDTH x HEIGHT. The last line of standard output is one JSON object of schema edge.peer/1, as of
// frame_clock.py.
import { join } from 'node:path'
import { framesOf } from './frames.mjs'
import { graphModelOnDisk, packagesIn } from './packages.mjs'

// @vladmandic/human with what emotions need: face detector, mesh, emotion; one face, no filters. As it comes, a frame that resembles the one before may keep
// faces found up to 2.5 s and emotions read up to 1.5 s ago; with `everyFrame` each frame's emotions are its own.
async function human ({ require, folderOf, wasmFolder }, everyFrame) {
  const tf = require('@tensorflow/tfjs')
  tf.io.registerLoadRouter((url) => typeof url === 'string' && url.startsWith('file://') ? graphModelOnDisk(url.slice('file://'.length)).handler : null)
  const { Human } = require(join(folderOf('@vladmandic/human'), 'dist', 'human.node-wasm.js'))
  const off = { enabled: false }
  const instance = new Human({
    backend: 'wasm',
    wasmPath: wasmFolder,
    modelBasePath: `file://${join(folderOf('@vladmandic/human'), 'models')}/`,
    filter: off,
    gesture: off,
    body: off,
    hand: off,
    face: { iris: off, description: off, emotion: everyFrame ? { skipFrames: 0, skipTime: 0 } : {} }
  })
  await instance.load()
  const loaded = instance.models.loaded()
  if (!['blazeface', 'facemesh', 'emotion'].every((name) => loaded.includes(name))) throw new Error(`human loaded only ${loaded}`)
  return async (rgb, shape) => {
    const picture = instance.tf.tensor3d(rgb, shape, 'int32')
    const result = await instance.detect(picture)
    picture.dispose()
    if (result.error) throw new Error(`human: ${result.error}`)
    return { faces: result.face.length, top: result.face[0]?.emotion?.[0]?.emotion ?? null }
  }
}

// @vladmandic/face-api on its shortest way to an emotion: the smaller of its detectors with its defaults, the best face, its expressions, no landmarks.
async function faceApi ({ require, folderOf, wasmFolder }) {
  require('@tensorflow/tfjs-backend-wasm').setWasmPaths(wasmFolder)
  const faceapi = require(join(folderOf('@vladmandic/face-api'), 'dist', 'face-api.node-wasm.js'))
  await faceapi.tf.setBackend('wasm')
  await faceapi.tf.ready()
  const folder = join(folderOf('@vladmandic/face-api'), 'model')
  await faceapi.nets.tinyFaceDetector.loadFromDisk(folder)
  await faceapi.nets.faceExpressionNet.loadFromDisk(folder)
  const options = new faceapi.TinyFaceDetectorOptions()
  return async (rgb, shape) => {
    const picture = faceapi.tf.tensor3d(rgb, shape, 'int32')
    const found = await faceapi.detectSingleFace(picture, options).withFaceExpressions()
    picture.dispose()
    return { faces: found ? 1 : 0, top: found?.expressions.asSortedArray()[0].expression ?? null }
  }
}

const [folder, peer, clip, ...size] = process.argv.slice(2)
const [width, height] = size.map(Number)
const packages = packagesIn(folder)
const peers = { human: () => human(packages, true), 'human-cached': () => human(packages, false), 'face-api': () => faceApi(packages) }
const analyse = await peers[peer]()
const doneNs = []
const faces = []
const top = []
const openNs = process.hrtime.bigint() // CLOCK_MONOTONIC
for await (const rgb of framesOf(clip, width, height)) {
  const seen = await analyse(rgb, [height, width, 3])
  doneNs.push(process.hrtime.bigint())
  faces.push(seen.faces)
  top.push(seen.top)
}
// Nanoseconds since the start of the machine may not fit a JavaScript number: written out by hand.
const rest = JSON.stringify({ schema: 'edge.peer/1', faces, top }).slice(1)
console.log(`{"t_open_ns":${openNs},"t_done_ns":[${doneNs}],${rest}`)
