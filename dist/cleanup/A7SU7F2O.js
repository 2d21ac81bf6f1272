import{a}from"./PLXBJFX2.js";import"./Q47YDT2A.js";import"./NARWF4YE.js";export{a as parseLayout};
