// Where the installed packages of package.json are, and how their networks are loaded from disk: TensorFlow.js without its native part reads no files.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

export function packagesIn (folder) {
  // Whatever the package's `exports` hide.
  const folderOf = (name) => join(folder, 'node_modules', ...name.split('/'))
  return { require: createRequire(join(folder, 'package.json')), folderOf, wasmFolder: join(folderOf('@tensorflow/tfjs-backend-wasm'), 'dist') + '/' }
}

// What tf.loadGraphModel takes; `weightFiles` are the files of the weights, in order.
export function graphModelOnDisk (modelFile) {
  const { modelTopology, weightsManifest, format } = JSON.parse(readFileSync(modelFile))
  const weightFiles = weightsManifest.flatMap((group) => group.paths).map((path) => join(dirname(modelFile), path))
  const bytes = Buffer.concat(weightFiles.map((file) => readFileSync(file)))
  const weightData = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
  const weightSpecs = weightsManifest.flatMap((group) => group.weights)
  return { weightFiles, handler: { load: async () => ({ modelTopology, weightSpecs, weightData, format }) } }
}
