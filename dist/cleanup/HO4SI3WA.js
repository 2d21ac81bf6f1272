import{a}from"./KMOEDXJ6.js";import"./AKIZVE2R.js";import"./NARWF4YE.js";export{a as parseLayout};
